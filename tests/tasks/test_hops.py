"""Made questions over two passages: the plan answers them, and the tool finds what it says."""

import asyncio

import pytest

from hornbeam.errors import DataError, RecipeError
from hornbeam.tasks.hops import hop_passages, hop_tasks
from hornbeam.tasks.lookup_world import doors
from hornbeam.tasks.task_sources import TaskSettings, load_tasks
from hornbeam.tools import make_tool
from hornbeam.workers.local_workers import LocalWorkers


@pytest.fixture
def search(monkeypatch):
    monkeypatch.delenv("HORNBEAM_DATA", raising=False)
    return make_tool("retrieval", corpus="hotpotqa", k=1, fallback="hops")


def test_the_tool_finds_what_the_plan_says(search) -> None:
    kinds = set()
    for task in hop_tasks(count=150):
        rounds = task.data["plan"]
        kinds.add(tuple(len(steps) for steps in rounds))
        for step in (step for steps in rounds for step in steps):
            assert search(task, step["query"]) == step["found"]
            assert step["answer"] in step["found"]
    assert kinds == {(1, 1), (2,)}


def test_answers_follow_from_the_plan() -> None:
    for task in hop_tasks(count=60):
        last = task.data["plan"][-1]
        if len(last) == 1:
            assert task.answer == last[0]["answer"]
            assert task.data["plan"][0][0]["answer"] in last[0]["question"]
        else:
            first = min(last, key=lambda step: int(step["answer"]))
            assert task.answer == first["query"]


def test_splits_are_apart_and_equal_arguments_give_equal_tasks() -> None:
    train = {t.question for seed in range(3) for t in hop_tasks("train", 200, seed)}
    test = {t.question for t in hop_tasks("dev", 100)} | {t.question for t in hop_tasks("test", 50)}
    assert len(test) > 90 and not train & test
    assert hop_tasks(seed=2) == hop_tasks(seed=2) != hop_tasks(seed=3)
    assert len(set(hop_passages())) == 418


def test_a_question_set_falls_back_on_them(monkeypatch) -> None:
    monkeypatch.delenv("HORNBEAM_DATA", raising=False)
    source = TaskSettings(source="hotpotqa", split="dev", count=5, fallback="hops")
    tasks = load_tasks([source]).tasks
    assert len(tasks) == 5
    if tasks[0].data:  # no hub here
        assert {t.data["corpus"] for t in tasks} == {"hops"}


def test_a_task_that_was_not_made_wants_its_own_passages(search, tmp_path) -> None:
    (made,) = hop_tasks(count=1)
    other = type(made)("q", "?")

    def call(tool, task) -> str:
        return asyncio.run(LocalWorkers({"search": tool}).call("search", {"query": "Ada"}, task))

    with pytest.raises(Exception, match="passages of 'hotpotqa' are not here"):
        call(search, other)
    (tmp_path / "c.jsonl").write_text('{"id": "1", "title": "Ada", "text": "A name."}\n')
    both = make_tool("retrieval", corpus=str(tmp_path / "c.jsonl"), k=1, fallback="hops")
    assert call(both, other) == "[1] Ada: A name."
    assert call(both, made).startswith("[1] Ada ")


def test_what_is_wrong_is_told() -> None:
    with pytest.raises(DataError, match="not 'valid'"):
        hop_tasks("valid")
    with pytest.raises(RecipeError, match="hops take no options"):
        load_tasks([TaskSettings(source="hops", count=1, options={"k": 1})])
    with pytest.raises(DataError, match="no generator 'hop' makes passages"):
        make_tool("retrieval", corpus="x", fallback="hop")


def test_errands_know_the_notes_on_the_right_way() -> None:
    for task in load_tasks([TaskSettings(source="errand", count=4)]).tasks:
        way = task.data["way"]
        assert len(way) == len(task.data["gold"]) and way[-1] == task.answer
        assert all(doors(note) for note in way[:-1])
