"""SFT sets: chunks of own answers, answers chosen by their steps, and training on them."""

import asyncio
import json

import pytest

from hornbeam.assembly.sft_set import read_set, set_line
from hornbeam.assembly.transcript import transcript
from hornbeam.chat import ByteChat, assistant, system, user
from hornbeam.engine.scripted import Scripted
from hornbeam.episode.program import Limits, Reply
from hornbeam.episode.segmenters import Segmenter
from hornbeam.errors import DataError
from hornbeam.grow.effects import Speaker
from hornbeam.grow.grower import Grower
from hornbeam.jobs.chunks.chunk_set import correct, ends, pieces, unwrapped, wrapped
from hornbeam.jobs.select.selection import Where, choose, mean_score
from hornbeam.search import Branch
from hornbeam.store.database import TreeKey
from hornbeam.tree.jsonl import read_trees, write_trees
from hornbeam.tree.nodes import Node, Origin, Tree, ids
from hornbeam.tree.task import Task

TAGS = ("<chunk>", "</chunk>")
CHATS = dict.fromkeys(("planner", "solver"), ByteChat())


# --- cutting -------------------------------------------------------------------------------------


def test_sentences_end_with_their_lines_and_at_stops_but_not_at_numbers_or_short_forms():
    text = 'He has 3.5 kg. "No!" Then 2.\n1. Add, e.g. 4.\n12. x = 5. So'
    cut = pieces(text, Segmenter(by="sentences").ends(text))
    assert cut == [
        "He has 3.5 kg. ",
        '"No!" ',
        "Then 2.\n",
        "1. Add, e.g. 4.\n",
        "12. x = 5. ",
        "So",
    ]


@pytest.mark.parametrize(
    ("segment", "cut"),
    [
        (Segmenter(), ["one. two\n\n", "three"]),
        (Segmenter(by="regex", regex="t"), ["one. t", "wo\n\nt", "hree"]),
        (Segmenter(by="tokens", tokens=6), ["one. t", "wo\n\nth", "ree"]),
        (Segmenter(by="sentences"), ["one. ", "two\n\n", "three"]),
    ],
)
def test_an_answer_is_cut_by_each_rule_and_comes_back(segment, cut):
    chat, text = ByteChat(), "one. two\n\nthree"
    reply = Reply(text, ids([*chat.encode(text), 0]), "stop", "solver")
    found = pieces(text, ends(reply, segment, chat))
    assert found == cut and unwrapped(wrapped(found, TAGS), TAGS) == text


def test_a_cut_never_falls_inside_a_character():
    chat, text = ByteChat(), "aé b"  # 5 bytes: a cut after 2 of them would break the é
    reply = Reply(text, ids([*chat.encode(text), 0]), "stop", "solver")
    assert ends(reply, Segmenter(by="tokens", tokens=2), chat) == [3]


def test_short_pieces_go_with_the_next_and_the_last_with_the_one_before():
    assert pieces("a. bcdef. g. hijkl. m", [3, 10, 13, 20], least=4) == [
        "a. bcdef. ",
        "g. hijkl. m",
    ]
    assert pieces("ab", [1], least=9) == ["ab"]
    assert pieces("a\n\n\n\nb", [3, 5]) == ["a\n\n", "\n\nb"]


def test_white_space_at_an_end_stands_behind_the_tag():
    assert wrapped(["one\n\n", "two"], TAGS) == "<chunk>one</chunk>\n\n<chunk>two</chunk>"
    assert unwrapped(wrapped(["a <chunk> b"], TAGS), TAGS) != "a <chunk> b"


# --- choosing ------------------------------------------------------------------------------------


def answers(name, *rows):
    """A task with one step for all, and an answer for each (value, reward)."""
    tree = Tree({"id": name})
    tree.append(Node(0, finish="chunk"))
    for episode in range(len(rows)):
        tree.append(Node(1, origin=Origin(episode, 0 if episode else 1), done=True))
    tree.columns["value"] = [None, 0.5, *(value for value, _ in rows)]
    tree.columns["reward"] = [None, None, *(reward for _, reward in rows)]
    return tree


def test_the_correct_answer_with_the_highest_mean_score_is_kept():
    trees = [
        answers("a", (0.9, 0.0), (0.1, 1.0), (0.3, 1.0), (0.3, 1.0)),
        answers("b", (0.9, 0.5), (0.1, None)),
        answers("a", (0.2, 1.0)),
        answers("c", (None, 1.0)),  # the mean is that of the first step
    ]
    assert [correct(tree) for tree in trees] == [[3, 4, 5], [], [2], [2]]
    assert mean_score(trees[0], 4, "value") == (0.5 + 0.3) / 2
    assert mean_score(trees[3], 2, "value") == 0.5
    chosen, counts = choose(trees, "value")
    assert [(tree.task["id"], leaf) for tree, leaf in chosen] == [("a", 4), ("c", 2)]
    assert counts == {"tasks": 3, "chosen": 2, "unsolved": 1, "unscored": 0, "answers": 5}


def test_by_outcome_any_correct_answer_of_the_same_tasks_is_drawn():
    trees = [answers("a", *[(0.1, 1.0)] * 3, (0.9, 0.0)), answers("b", (None, 1.0))]
    trees[1].columns["value"][1] = None
    drawn = [choose(trees, "value", "outcome", seed)[0] for seed in range(40)]
    assert {leaf for chosen in drawn for _, leaf in chosen} == {2, 3, 4}
    assert all(len(chosen) == 1 for chosen in drawn)  # b has no score
    assert choose(trees, "value", "outcome", 3)[0] == drawn[3]
    assert len(choose(trees, None, "outcome")[0]) == 2


def test_where_there_is_nothing_to_choose_it_is_told():
    with pytest.raises(DataError, match="task 'a' has no column 'valeu'"):
        choose([answers("a", (0.1, 1.0))], "valeu")
    with pytest.raises(DataError, match="of 1 tasks 0 have a correct answer"):
        choose([answers("a", (0.1, 0.0))], "value")


def test_all_that_meets_every_condition_is_chosen():
    trees = [answers("a", (0.9, 0.0), (0.1, 1.0), (None, 1.0)), answers("b", (0.8, 0.5))]

    def kept(*texts, **more):
        chosen, counts = choose(trees, None, "all", wheres=[*map(Where.of, texts)], **more)
        return [(tree.task["id"], leaf) for tree, leaf in chosen], counts

    assert kept("reward > 0.2")[0] == [("a", 3), ("a", 4), ("b", 2)]
    assert kept("reward>0.2", "value<=0.5")[0] == [("a", 3)]  # without an entry: not met
    assert kept("value==0.9")[0] == [("a", 2)]
    assert kept("turns<=1", "tokens<1")[0] == [("a", 2), ("a", 3), ("a", 4), ("b", 2)]
    assert kept("reward>=1")[1] == {
        "tasks": 2,
        "chosen": 2,
        "unsolved": 1,
        "unscored": 0,
        "answers": 2,
    }
    one, _ = choose(trees, "value", wheres=[Where.of("reward>=0")])
    assert [leaf for _, leaf in one] == [2, 2]  # one a task, the best of those that meet it
    with pytest.raises(DataError, match="0 have an answer that meets"):
        kept("reward>7")
    with pytest.raises(DataError, match="no column 'worth'"):
        kept("worth>0")
    for text in ("reward", "reward=1", "reward>many", ""):
        with pytest.raises(DataError, match="--where"):
            Where.of(text)


# --- messages of a stored path -------------------------------------------------------------------


async def team(task, ep):
    async def helper(task, ep):
        return (await ep.ask("anyone", [user(task.question)])).text

    plan = await ep.delegate("planner", helper, Task("s", "Plan?"))
    note = await ep.call("note", text=plan)
    messages = [system("Be brief."), user(task.question), assistant(plan), user(note)]
    return (await ep.ask("solver", messages)).text


def grown(program=team):
    engine = Scripted(lambda prompt, rng: f"so {rng.randrange(1000)}\n\nis it")
    agents = {name: Speaker(engine, segment=Segmenter()) for name in ("planner", "solver")}

    from hornbeam.workers.local_workers import LocalWorkers

    tools = LocalWorkers({"note": lambda text: text.upper()})
    how = Grower(program, agents, Branch(), tools=tools)
    return asyncio.run(how.grow(TreeKey("train", 0, 0), Tree(Task("q", "Why?").to_json(), seed=3)))


def test_a_stored_path_tells_what_was_asked_and_said():
    tree = grown()
    for leaf in tree.leaves():
        (first, plan), (second, last) = asyncio.run(transcript(team, Limits(), CHATS, tree, leaf))
        assert first == [user("Plan?")]
        said = [tree.nodes[i].text for i in tree.path(leaf)]
        assert plan.text + last.text == "".join(said) and len(said) >= 4
        shown = [user("Why?"), assistant(plan.text), user(plan.text.upper())]
        assert second == [system("Be brief."), *shown]


async def other(task, ep):
    return (await ep.ask("solver", [user("Who?")])).text


async def more(task, ep):
    await team(task, ep)
    return (await ep.ask("solver", [user("And?")])).text


@pytest.mark.parametrize("program", [other, more])
def test_another_program_does_not_go_the_way_of_the_tree(program):
    tree = grown()
    with pytest.raises(DataError, match=r"task .q.: .*grown by this recipe"):
        asyncio.run(transcript(program, Limits(), CHATS, tree, tree.leaves()[0]))


# --- files ---------------------------------------------------------------------------------------

GOOD = {"messages": [user("Why?")], "text": "So."}


def test_a_set_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "set.jsonl"
    messages = [system("Be brief."), user("Why?")]
    so, b = (Reply(text, ids(), "stop", "solver") for text in ("So é.", "b"))
    path.write_text(set_line(messages, so) + set_line([user("a")], b, "c"))
    assert read_set(path) == [[(messages, "So é.", "solver")], [([user("a")], "c", "solver")]]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"messages": []}, "the conversation is empty"),
        ({**GOOD, "answer": 3}, "'answer'"),
        ({**GOOD, "text": ""}, "'text'"),
        ({**GOOD, "agent": 3}, "'agent'"),
        ({**GOOD, "messages": []}, "at least one"),
        ({**GOOD, "messages": ["Why?"]}, "message 0"),
        ({**GOOD, "messages": [user("a"), {"role": "usr", "content": "b"}]}, "role 'usr'"),
        ({**GOOD, "messages": [{"role": "user", "content": None}]}, "both texts"),
        ([GOOD], "JSON object"),
    ],
)
def test_a_wrong_line_of_a_set_is_named(tmp_path, record, message):
    path = tmp_path / "set.jsonl"
    path.write_text(json.dumps(GOOD) + "\n" + json.dumps(record) + "\n")
    with pytest.raises(DataError, match=f"set.jsonl, line 2: .*{message}"):
        read_set(path)


# --- the commands, on the tiny world -------------------------------------------------------------


def test_own_answers_are_cut_and_trained_on(world, hornbeam, tmp_path):
    out, sets = tmp_path / "set.jsonl", ["--set", "chunks.tasks=6", "--set", "chunks.samples=3"]
    words = [*sets, "--set", 'chunks.segment={by="tokens", tokens=1}', "--run", tmp_path / "run"]
    code, _, said = hornbeam("chunks", world.recipe, "--out", out, *words)
    assert code == 0 and f"{out} (" in said
    result = read_set(out)
    assert f"({len(result)} lines" in said
    for ((messages, text, _),) in result:
        assert text.startswith("<chunk>") and "<chunk>" not in unwrapped(text, TAGS)
        earlier = [m["content"] for m in messages if m["role"] == "assistant"]
        assert all(content.startswith("<chunk>") for content in earlier)
    train = ["--set", f"sft.data={out}", "--set", "sft.epochs=1", "--set", "run.steps=0"]
    code, _, said = hornbeam("train", world.recipe, *train, "--out", tmp_path / "trained")
    assert code == 0 and f"Warm start on {min(40, len(result))} answers of {out}" in said
    lines = (tmp_path / "trained" / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert sum(row["kind"] == "sft" for row in rows) == -(-min(40, len(result)) // 16)
    whole = out.read_text()
    out.write_text(whole.replace("<chunk>", "<chunk> ", 1))
    code, err, _ = hornbeam("train", world.recipe, *train, "--out", tmp_path / "trained")
    assert code == 2 and f"began with other answers than {out} has now: put it back" in err
    out.write_text(whole)
    assert hornbeam("train", world.recipe, *train, "--out", tmp_path / "trained")[0] == 0


def test_wrong_sets_and_sources_are_one_line(world, hornbeam, tmp_path):
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"messages": []}\n')
    for data, result in ((broken, "broken.jsonl, line 1"), (tmp_path / "none", "no such file")):
        words = ["--set", f"sft.data={data}", "--out", tmp_path / "run"]
        code, err, _ = hornbeam("train", world.recipe, *words)
        assert code == 2 and result in err and len(err.splitlines()) == 1, err
    out = tmp_path / "set.jsonl"
    words = ["--out", out, "--run", tmp_path / "chunks"]
    code, err, _ = hornbeam("chunks", world.recipe, *words, "--set", "chunks.skip=40")
    assert code == 2 and "chunks.skip" in err
    code, err, _ = hornbeam("chunks", world.recipe, *words, "--set", 'chunks.tags=["<c>", "<c>"]')
    assert code == 2 and "chunks.tags" in err
    few = ["--set", "limits.turns=1", "--set", "chunks.tasks=2"]
    code, err, _ = hornbeam("chunks", world.recipe, *words, *few)
    assert code == 2 and "of 8 answers 0 are correct" in err
    assert not out.exists()


def test_the_best_of_labelled_answers_become_a_set(world, hornbeam, tmp_path):
    trees, out = world.folder / "labels" / "trees.jsonl", tmp_path / "set.jsonl"
    code, _, said = hornbeam("select", trees, "--column", "q", "--out", out)
    assert code == 0 and "one a task" in said
    chosen, counts = choose(read_trees(trees), "q")
    asks = [tree.nodes[i].text for tree, leaf in chosen for i in tree.path(leaf)]
    assert [turn.text for (turn,) in read_set(out)] == asks
    assert f"{counts['unsolved']} tasks without one" in said
    words = ["--by", "all", "--where", "reward<1", "--out", tmp_path / "wrong.jsonl"]
    code, _, said = hornbeam("select", trees, *words)
    assert code == 0 and "matching answers chosen;" in said and read_set(tmp_path / "wrong.jsonl")
    equal = tmp_path / "equal.jsonl"
    words = ["--column", "q", "--by", "outcome", "--recipe", world.recipe]
    code, _, again = hornbeam("select", trees, *words, "--out", equal)
    assert code == 0 and again.startswith(f"{counts['chosen']} of ")
    assert len(read_set(equal)) == len(asks)  # the right way of a task is one, so asks are as many


def test_what_cannot_be_selected_is_one_line(world, hornbeam, tmp_path):
    trees, out = tmp_path / "trees.jsonl", tmp_path / "set.jsonl"
    write_trees([answers("a", (0.1, 1.0))], trees)
    refused = {
        (): "--column",
        ("--column", "worth"): "'worth'",
        ("--column", "value"): "--recipe",
        ("--column", "value", "--by", "luck"): "--by luck",
        ("--column", "value", "--recipe", world.recipe): "grown by this recipe",
    }
    for words, result in refused.items():
        code, err, _ = hornbeam("select", trees, *words, "--out", out)
        assert code == 2 and result in err and len(err.splitlines()) == 1, (words, err)
    assert not out.exists()
