"""Tasks for a judge out of labelled trees: what stands in them, balance, splits, wrong input."""

import json
from collections import Counter

import pytest

from hornbeam.chat import ByteChat
from hornbeam.errors import DataError, RecipeError
from hornbeam.tasks.judge_tasks import step_texts
from hornbeam.tasks.steplabels import from_rows
from hornbeam.tasks.task_sources import TaskSettings, check_disjoint, load_tasks
from hornbeam.tree.jsonl import write_trees
from hornbeam.tree.nodes import Call, Node, Origin, Tree, ids

ONE = ids([1])


def labelled(name: str, labels, **task) -> Tree:
    """A chain of steps "step 1" ... with these labels."""
    tree = Tree({"id": name, "question": f"What of {name}?", **task})
    for n in range(len(labels)):
        tree.append(
            Node(
                n, "solver", tokens=ONE, text=f"step {n + 1}", origin=Origin(step=n), finish="stop"
            )
        )
    tree.columns["label"] = [None, *labels]
    return tree


@pytest.fixture
def load(tmp_path):
    """`load(trees, split, **options)`: tasks and the line that tells where they come from."""
    path = tmp_path / "labels.jsonl"

    def once(trees, split="all", count=None, skip=0, seed=None, **options):
        write_trees(trees, path)
        source = TaskSettings(
            source="judge", path=str(path), split=split, count=count, skip=skip, seed=seed,
            options=options,
        )  # fmt: skip
        found = load_tasks([source])
        return found.tasks, found.sources[0]

    once.path = path
    return once


def test_a_task_for_every_labelled_step(load) -> None:
    tasks, line = load([labelled("a", [1, None, -1])], balance=False)
    assert [(t.id, t.question, t.answer, dict(t.data)) for t in tasks] == [
        ("a/1", "What of a?", "Positive", {"history": "", "chunk": "step 1"}),
        ("a/3", "What of a?", "Negative", {"history": "step 1\nstep 2", "chunk": "step 3"}),
    ]
    assert line.startswith(f"{load.path} all: 2 tasks from the labelled steps of 1 problems")
    assert "(1 Positive, 1 Negative; 0 left out by balance, 0 too long)" in line


def test_what_stands_before_a_step() -> None:
    tree = Tree({"id": "q", "question": "?"}, [Node(-1, calls=(Call("note", {}, "a fact"),))])
    call = Call("calculator", {"expression": "1 / 0"}, error="division by zero")
    tree.append(Node(0, "solver", prompt=ONE, tokens=ONE, text="Half ", finish="chunk"))
    tree.append(Node(1, "solver", tokens=ONE, text="a call", calls=(call,), finish="stop"))
    tree.append(Node(2, "solver", prompt=ONE, tokens=ONE, text="Then ", finish="stop",
                     calls=(Call("find", {}, {"n": 2}),)))  # fmt: skip
    tree.append(Node(3, "solver", prompt=ONE, tokens=ONE, text="the end"))
    assert step_texts(tree, 1) == ("a fact", "Half")
    assert step_texts(tree, 2) == ("a fact\nHalf", "a call")
    assert step_texts(tree, 3) == ("a fact\nHalf a call\nerror: division by zero", "Then")
    assert step_texts(tree, 4)[0].endswith('by zero\nThen \n{"n": 2}')


def test_several_agents_are_named() -> None:
    tree = Tree({"id": "q", "question": "?"})
    for n, (agent, text) in enumerate([("planner", "Add."), ("solver", "4"), ("solver", "4!")]):
        tree.append(Node(n, agent, prompt=ONE, tokens=ONE, text=text, finish="stop"))
    assert step_texts(tree, 1) == ("", "Add.")
    assert step_texts(tree, 3) == ("planner: Add.\nsolver: 4", "solver: 4!")


def test_steps_of_rows_stand_on_lines_of_their_own() -> None:
    row = {"question": "?", "steps": ["a", "b", "c"], "ratings": [1, 1, -1]}
    for chat in (None, ByteChat()):
        (tree,) = from_rows([row], "prm800k", chat=chat)
        assert step_texts(tree, 3) == ("a\nb", "c")


def test_classes_are_balanced_and_equal_seeds_give_equal_tasks(load) -> None:
    trees = [labelled(f"t{n}", [1, 1, 1, -1 if n % 2 else 1]) for n in range(8)]
    tasks, line = load(trees)
    assert Counter(task.answer for task in tasks) == {"Positive": 4, "Negative": 4}
    assert "24 left out by balance" in line
    assert [task.id for task in load(trees)[0]] == [task.id for task in tasks]
    assert [task.id for task in load(trees, seed=5)[0]] != [task.id for task in tasks]
    some = load(trees, seed=5, count=4, skip=2)[0]
    assert Counter(task.answer for task in some) == {"Positive": 2, "Negative": 2}
    assert len(load(trees, balance=False)[0]) == 32
    drawn = load(trees, balance=False, seed=1)[0]
    assert [t.id for t in drawn] != sorted(t.id for t in drawn) and len(drawn) == 32


def test_all_steps_of_a_problem_are_on_one_side(load) -> None:
    trees = [labelled(f"t{n}", [1, -1]) for n in range(60)]
    train, test = load(trees, "train")[0], load(trees, "test")[0]
    assert {t.question for t in train} | {t.question for t in test} == {
        tree.task["question"] for tree in trees
    }
    assert 4 <= len({t.question for t in test}) <= 20
    check_disjoint(train, test)


def test_long_steps_are_left_out(load) -> None:
    trees = [labelled("a", [1, -1, 1, -1])]
    size = len("What of a?" + "step 1" + "step 2")
    tasks, line = load(trees, longest=size)
    assert sorted(task.id for task in tasks) == ["a/1", "a/2"]
    assert "2 too long" in line
    with pytest.raises(DataError, match=r"no step is left .* 4 are longer than longest = 3"):
        load(trees, longest=3)


def test_another_column_and_trees_of_one_task(load) -> None:
    trees = [labelled("a", [1, -1]), labelled("a", [-1, 0])]
    for tree in trees:
        tree.columns["abs"] = tree.columns.pop("label")
    tasks, _ = load(trees, column="abs", balance=False)
    assert [task.id for task in tasks] == ["a/1", "a/2", "a.2/1"]


def test_processbench_items_are_read(load, tmp_path) -> None:
    rows = [
        {"id": "g-0", "problem": "2+2?", "steps": ["2", "so 5", "5"], "label": 1},
        {"id": "g-1", "problem": "3+3?", "steps": ["6"], "label": -1},
    ]
    path = tmp_path / "gsm8k.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = {"format": "processbench", "balance": False}
    source = TaskSettings(source="judge", path=str(path), split="all", options=options)
    found = load_tasks([source]).tasks
    assert [(t.id, t.answer, t.data["history"], t.data["chunk"]) for t in found] == [
        ("g-0/1", "Positive", "", "2"),
        ("g-0/2", "Negative", "2", "so 5"),
        ("g-1/1", "Positive", "", "6"),
    ]


def test_wrong_input_is_one_clear_line(load) -> None:
    tree = labelled("a", [1, 1])
    with pytest.raises(DataError, match=r"all 2 labelled steps are Positive .*balance = false"):
        load([tree])
    tree.columns["q"] = [0.5, 0.25, None]
    with pytest.raises(
        DataError,
        match=r"labels.jsonl, tree 1: no column 'lable' \(there are: 'label', 'q'\).* abs_q FILE",
    ):
        load([tree], column="lable")
    with pytest.raises(
        DataError, match=r"tree 1: column 'q' holds 0.25 at node 1, .* 1, -1 or null"
    ):
        load([tree], column="q")
    with pytest.raises(DataError, match="no step is left of column 'label' of split 'all'"):
        load([labelled("a", [None])])
    with pytest.raises(RecipeError, match="no split 'tset': did you mean 'test'"):
        load([tree], "tset")
    with pytest.raises(RecipeError, match="no setting 'blance': did you mean 'balance'"):
        load([tree], blance=False)
    with pytest.raises(DataError, match="no such file"):
        load_tasks([TaskSettings(source="judge", path="nowhere.jsonl")])
