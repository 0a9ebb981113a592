"""What a command needs, what it writes, and what its messages name as the next command."""

import json

import pytest

from hornbeam.engine.remote.chat_probe import ChatAbilities
from hornbeam.engine.remote.completions_probe import seeds
from hornbeam.tree.jsonl import read_trees, write_trees
from hornbeam.tree.nodes import Node, Origin, Tree, ids

TASKS = '[[tasks.{}]]\nsource = "lookup"\nsplit = "{}"\ncount = 3\n'
TRAIN, HELD_OUT = TASKS.format("train", "train"), TASKS.format("eval", "test")
RECIPE = """
[model]
name = "tiny"
options = {width = 16, layers = 1}
[agents.seeker]
max_tokens = 2
[program]
name = "same.py:answer"
[reward]
rule = "exact"
[label]
strategy = "rollouts"
trunks = 1
rollouts = 1
[[search.methods]]
name = "single"
n = 1
"""
PROGRAM = """
from hornbeam import user

async def answer(task, ep):
    await ep.ask("seeker", [user(task.question)])
    return task.answer if isinstance(task.answer, str) else next(iter(task.answer))
"""


@pytest.fixture
def job(tmp_path, hornbeam, monkeypatch):
    """Runs a command on the recipe with these tasks, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def run(command, tasks, *words):
        (tmp_path / "same.py").write_text(PROGRAM)
        (tmp_path / "short.toml").write_text(RECIPE + tasks)
        return hornbeam(command, "short.toml", *words)

    run.hornbeam = hornbeam
    return run


def test_held_out_tasks_alone_are_enough_to_evaluate_and_search(job, tmp_path):
    code, said, out = job("eval", HELD_OUT)
    assert code == 0 and "100.0 % [43.9, 100.0] of 3" in out, said
    code, said, out = job("search", HELD_OUT, "--out", "searched")
    assert code == 0 and "Report:  searched" in out, said
    for command in ("eval", "search"):
        code, said, _ = job(command, TRAIN)
        assert code == 2 and "tasks.eval is empty: name a source, as in [[tasks.eval]]" in said
    code, said, _ = job("train", HELD_OUT)
    assert code == 2 and "tasks.train is empty: name a source, as in [[tasks.train]]" in said


def test_labels_of_recorded_runs_need_no_training_tasks(job, tmp_path):
    assert job("eval", HELD_OUT, "--out", "held.jsonl")[0] == 0
    words = ["--trees", "held.jsonl", "--out"]
    code, said, out = job("label", HELD_OUT, *words, "labels")
    assert code == 0 and "3 tasks searched" in out, said
    assert "every Q is 1, so no step is better" in out + said
    assert "`--method rollouts --trees FILE`" in out + said and "harder tasks" in out + said
    code, said, _ = job("label", HELD_OUT, "--out", "more")
    assert code == 2 and "tasks.train is empty" in said


def test_eval_names_the_file_of_trees_that_it_wrote(job, tmp_path):
    (tmp_path / "here").mkdir()
    for given, written in (
        ("trees.jsonl", "trees.jsonl"),
        ("runs/x", "runs/x"),
        ("here", "here/trees.jsonl"),
    ):
        code, said, out = job("eval", HELD_OUT, "--out", given)
        assert code == 0 and f"3 trees: {written}\n" in out, said
        assert len([*read_trees(tmp_path / written)]) == 3
    code, said, out = job("eval", HELD_OUT, "--json", "--out", "trees.jsonl")
    assert code == 0 and json.loads(out)["count"] == 3 and "3 trees: trees.jsonl" in said
    code, said, _ = job("eval", HELD_OUT, "--out", "trees.jsonl/x")
    assert code == 2 and "hornbeam: --out trees.jsonl/x: cannot be written" in said


def test_a_column_that_is_missing_comes_with_the_command_that_writes_it(job, tmp_path):
    tree = Tree({"id": "a", "question": "q"})
    tree.append(Node(0, text="one", tokens=ids([5]), origin=Origin(0, 0), done=True))
    tree.columns["reward"] = [None, 1.0]
    write_trees([tree], tmp_path / "bare.jsonl")
    by_rollouts = "`hornbeam label RECIPE --method rollouts --trees FILE` writes it"
    for words, column, writer in (
        (["steps", "bare.jsonl", "--to", "trl", "--out", "rows"], "q", by_rollouts),
        (["label", "rel_ratio", "bare.jsonl"], "q", "--method rollouts"),
        (
            ["select", "bare.jsonl", "--column", "value", "--out", "s"],
            "value",
            "score FILE --model",
        ),
    ):
        code, said, _ = job.hornbeam(*words)
        assert code == 2 and "no column" in said and f"{column!r}" in said.replace('"', "'")
        assert writer in said


def test_select_says_which_recipe_it_asks_for(job, tmp_path):
    assert job("eval", HELD_OUT, "--out", "grown/held.jsonl")[0] == 0
    code, said, _ = job.hornbeam("select", "grown/held.jsonl", "--by", "all", "--out", "s.jsonl")
    assert code == 2 and "add --recipe with the recipe that these trees were grown by" in said


def test_a_server_that_ignores_seeds_is_told_so():
    assert seeds(True, True) == "seeded" and seeds(False, True) == "not seeded"
    assert seeds(True, False) == "the same answer for every seed: seeds are ignored"
    told = ChatAbilities("m", seeded=True, several=False).describe()
    assert "seeds are ignored" in told and "seeded," not in told


def model(folder):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")


@pytest.mark.parametrize("command", ["eval", "search", "label", "chunks"])
def test_a_model_in_a_folder_that_is_here_is_meant_as_a_folder(job, tmp_path, command):
    model(tmp_path / "runs" / "prm")
    model(tmp_path / "runs" / "policy" / "final")
    more = ["--out", "set.jsonl"] if command == "chunks" else []
    for name, hint in (
        ("runs/prmm", "runs; did you mean 'runs/prm'? (a model of the hub"),
        ("runs/other", "runs (there are: policy, prm)"),
        ("runs/policy", "runs/policy/final'?"),
    ):
        code, said, _ = job(command, TRAIN + HELD_OUT, "--model", name, *more)
        assert code == 2 and hint in said and name in said, said
        assert "hub gave no answer" not in said and len(said.splitlines()) == 1


def test_score_and_fit_name_the_near_folder_too(job, tmp_path):
    assert job("eval", HELD_OUT, "--out", "held.jsonl")[0] == 0
    said = [{"role": role, "content": "a"} for role in ("user", "assistant")]
    (tmp_path / "chats.jsonl").write_text(json.dumps({"messages": said}))
    model(tmp_path / "runs" / "prm")
    model(tmp_path / "runs" / "policy" / "final")
    for name, hint in (
        ("runs/prmm", "did you mean 'runs/prm'?"),
        ("runs/policy", "runs/policy/final'?"),
    ):
        code, said, _ = job.hornbeam(
            "score", "held.jsonl", "--out", "scored", "--model", name, "--column", "v"
        )
        assert code == 2 and hint in said, said
        code, said, _ = job.hornbeam("import", "chats.jsonl", "--out", "x", "--model", name)
        assert code == 2 and hint in said, said
        words = ["--model", name, "--trees", "held.jsonl", "--out", "fitted"]
        code, said, _ = job("fit", HELD_OUT, *words)
        assert code == 2 and hint in said, said


def test_a_recipe_that_is_not_there_is_told_with_those_that_are(hornbeam):
    code, said, _ = hornbeam("train", "nope.toml")
    assert code == 2 and "nope.toml: no such file; recipes that come with Hornbeam: " in said
    code, said, _ = hornbeam("train", "here/tinny.toml")
    assert code == 2 and said.endswith("here/tinny.toml: no such file; did you mean 'tiny'?")
