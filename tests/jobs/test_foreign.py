"""Trees that others recorded, of text alone, all the way: scored, credited, chosen, fitted on."""

import json

import pytest

from hornbeam.assembly.sft_set import read_set
from hornbeam.chat import user
from hornbeam.errors import DataError
from hornbeam.jobs.select.selection import lines_of_texts
from hornbeam.tree.jsonl import read_trees
from hornbeam.tree.nodes import Call, Node, Tree, answered

STEPS = {  # a step, two answers; none is said to be the end
    "task": {"id": "a", "question": "3 + 4 ?", "answer": "7"},
    "nodes": [
        {"parent": -1},
        {"parent": 0, "text": "3 + 4 ="},
        {"parent": 1, "text": "7"},
        {"parent": 1, "text": "8"},
    ],
}
CHATS = [
    {
        "messages": [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": f"{n} + 1 ?"},
            {"role": "assistant", "content": f"It is {n + 1}."},
        ],
        "answer": str(n + 1 + n % 2),  # every second chat is wrong
    }
    for n in range(4)
]


def kept(number, chat):
    """A chat as a tree that keeps its messages."""
    *asked, said = chat["messages"]
    task = {"id": f"chat-{number}", "question": asked[-1]["content"], "answer": chat["answer"]}
    leaf = {"parent": 0, "text": said["content"], "done": True, "answer": said["content"]}
    return {"task": task, "nodes": [{"parent": -1, "messages": asked}, leaf]}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "foreign.jsonl"
    path.write_text(json.dumps(STEPS) + "\n")
    return path


def test_where_no_end_is_told_every_leaf_is_one(file):
    (tree,) = read_trees(file)
    assert answered(tree) == [2, 3]
    ended = Tree(tree.task, [*tree.nodes[:2], Node(1, done=True), Node(1), Node(1, error="x")])
    assert answered(ended) == [2]


def test_answers_of_text_become_a_set_without_a_recipe(file, hornbeam, tmp_path):
    out, select = tmp_path / "set.jsonl", ("select", file, "--by", "all")
    code, said, _ = hornbeam(*select, "--out", out)
    assert code == 2 and "`hornbeam score --rule`" in said and not out.exists()
    assert hornbeam("score", file, "--rule", "numeric", "--in-place")[0] == 0
    code, said, result = hornbeam(*select, "--out", out)
    assert (code, said) == (0, "") and result.startswith("1 of 1 correct answers chosen")
    ((turn,),) = read_set(out)
    assert (turn.messages, turn.text) == ([user("3 + 4 ?")], "3 + 4 =\n7")
    code, said, _ = hornbeam(*select, "--out", out, "--recipe", "tiny")
    assert code == 2 and said.endswith("trees of text hold their prompts: leave --recipe out")


def test_turns_with_tools_are_lines_of_their_own():
    tree = Tree({"id": "q", "question": "2 + 2?"})
    tree.append(Node(0, "solver", text="CALC[2+2]", calls=(Call("calc", {}, "4"),), finish="stop"))
    tree.append(Node(1, "solver", text="4", finish="stop", done=True))
    first, last = map(json.loads, lines_of_texts(tree, 2))
    asked = [user("2 + 2?")]
    assert first == {"messages": asked, "text": "CALC[2+2]", "agent": "solver"}
    before = [*asked, {"role": "assistant", "content": "CALC[2+2]"}, user("4")]
    assert last == {"messages": before, "text": "4", "agent": "solver"}


def test_chats_that_trees_keep_are_scored_chosen_and_credited(hornbeam, tmp_path):
    trees, out = tmp_path / "runs.jsonl", tmp_path / "set.jsonl"
    trees.write_text("".join(json.dumps(kept(*chat)) + "\n" for chat in enumerate(CHATS)))
    code, said, result = hornbeam("score", trees, "--rule", "numeric", "--in-place")
    assert result.startswith("reward: 4 of 4 answers scored, mean 0.5")
    code, said, result = hornbeam("select", trees, "--by", "outcome", "--out", out)
    assert (code, said) == (0, "") and result.startswith("2 of 2 correct answers chosen")
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["messages"] for row in rows] == [CHATS[n]["messages"] for n in (0, 2)]
    code, said, _ = hornbeam("credit", "shaped", trees, "--set", "column=value")
    assert code == 2 and "no column 'value' to shape by" in said and "`hornbeam score`" in said
    assert "in Python tree.columns['value'] is it" in said


def test_a_value_model_is_fitted_on_texts_scores_them_and_shapes_credit(
    world, file, hornbeam, tmp_path
):
    prm, out = tmp_path / "prm", tmp_path / "valued.jsonl"
    rows = [{**STEPS, "task": {**STEPS["task"], "id": str(n)}} for n in range(8)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert hornbeam("score", file, "--rule", "numeric", "--in-place")[0] == 0
    sets = ("--set", "fit.epochs=1", "--set", "fit.objective=outcome")
    fit = ("fit", world.recipe, "--trees", file, "--model", world.policy, "--out", prm, *sets)
    code, said, result = hornbeam(*fit)
    assert (code, said) == (0, ""), said
    assert "8 of 8 trees are text: read in the ids of" in result
    code, said, result = hornbeam("score", file, "--model", prm, "--out", out)
    assert (code, said) == (0, "") and result.startswith("value: 24 of 24 steps scored")
    code, said, result = hornbeam("credit", "shaped", out, "--set", "column=value")
    assert (code, said) == (0, "")
    credited = [json.loads(line)["columns"] for line in result.splitlines()]
    assert all(v is not None for each in credited for v in each["advantage"][2:])


def test_a_set_wants_a_reward_column_or_a_condition(file):
    from hornbeam.jobs.select.selection import Where, choose

    (tree,) = read_trees(file)
    with pytest.raises(DataError, match="no tree has a column 'reward'"):
        choose([tree], None, "all")
    chosen, _ = choose([tree], None, "all", wheres=[Where.of("turns>=1")])
    assert [leaf for _, leaf in chosen] == [2, 3]


def called(n):
    """A chat of two turns that calls a tool; half of them end wrong."""
    asks = {"name": "add", "arguments": json.dumps({"a": n, "b": 1})}
    one = {"id": f"c{n}", "type": "function", "function": asks}
    return {
        "messages": [
            {"role": "user", "content": f"{n} + 1 ?"},
            {"role": "assistant", "content": None, "tool_calls": [one]},
            {"role": "tool", "tool_call_id": f"c{n}", "content": str(n + 1)},
            {"role": "assistant", "content": f"It is {n + 1 + n % 2}."},
        ],
        "tools": [{"type": "function", "function": {"name": "add", "parameters": {}}}],
        "answer": str(n + 1),
    }


def test_chats_with_tools_and_a_template_without_go_all_the_way(world, hornbeam, tmp_path):
    """Imported as text: a warm start, a value model, its scores, a choice, a warm start on that."""
    chats, trees, taught = (tmp_path / f"{name}.jsonl" for name in ("chats", "trees", "taught"))
    chats.write_text("".join(json.dumps(called(n)) + "\n" for n in range(8)))
    words = ("import", chats, "--out", trees, "--sft", taught)
    code, said, _ = hornbeam(*words, "--model", world.policy)
    assert code == 2 and "`hornbeam import FILE --tools-as-text`" in said and not trees.exists()
    assert hornbeam(*words)[0] == 0
    more = ("--set", "run.steps=0", "--set", "run.eval_start=false", "--set", "sft.epochs=1")
    train = ("train", world.recipe, *more, "--out")
    code, said, _ = hornbeam(*train, tmp_path / "refused", "--set", f"sft.data={taught}")
    assert code == 2 and "`hornbeam import FILE --tools-as-text`" in said
    sets = ("--set", "fit.epochs=1", "--set", "fit.objective=outcome")
    fit = (
        "fit",
        world.recipe,
        "--trees",
        trees,
        "--model",
        world.policy,
        "--out",
        tmp_path / "prm",
    )
    assert hornbeam("score", trees, "--rule", "numeric", "--answer", "number", "--in-place")[0] == 0
    code, said, _ = hornbeam(*fit, *sets)
    assert code == 2 and "`hornbeam import FILE --tools-as-text`" in said

    code, said, data = hornbeam(*words, "--tools-as-text")
    assert (code, said) == (0, "") and "tools as text in 8 runs: 8 calls" in data
    code, said, data = hornbeam(*train, tmp_path / "run", "--set", f"sft.data={taught}")
    assert (code, said) == (0, "") and f"Warm start on 8 answers of {taught}" in data
    assert hornbeam("score", trees, "--rule", "numeric", "--answer", "number", "--in-place")[0] == 0
    assert hornbeam(*fit, *sets)[:2] == (0, "")
    code, said, data = hornbeam("score", trees, "--model", tmp_path / "prm", "--in-place")
    assert (code, said) == (0, "") and data.startswith("value: 16 of 16 steps scored")
    chosen = tmp_path / "chosen.jsonl"
    code, said, data = hornbeam("select", trees, "--column", "value", "--out", chosen)
    assert (code, said) == (0, "") and data.startswith("4 of 4 correct answers chosen")
    right = [row for n, row in enumerate(taught.read_text().splitlines()) if n % 2 == 0]
    data = [json.loads(row)["messages"] for row in chosen.read_text().splitlines()]
    assert data == [json.loads(row)["messages"] for row in right]
    code, said, data = hornbeam(*train, tmp_path / "again", "--set", f"sft.data={chosen}")
    assert (code, said) == (0, "") and f"Warm start on 4 answers of {chosen}" in data
