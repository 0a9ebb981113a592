"""What the checker says of answers (in this process; time-outs: test_pool)."""

import os

import pytest

from hornbeam.score.check import check, symbolic
from hornbeam.score.rules import readings

EQUAL = [
    ("14/3", r"\frac{14}{3}"),
    ("0.5", r"\frac12"),
    (r"\frac{14}{3}", r"$\frac{14}{3}$"),
    ("The answer is $x=3$.", "3"),
    (r"$\boxed{\{1,2\}}$", r"\{2,1\}"),
    ("x^2 + 2x + 1", "(x+1)^2"),
    (r"\sqrt{8}", r"2\sqrt2"),
    ("12 apples", "12"),
    ("$1,200", "1200"),
    (r"50\%", "50"),
    (r"first \boxed{1}, no: \boxed{2}", "2"),
    (r"x = \boxed{1} or x = \boxed{2}", r"\{1, 2\}"),
    (r"\text{yes}", "yes"),
    ("(3,4)", "(3, 4)"),
]
UNEQUAL = [("", "3"), ("x^2 + 1", "x^2"), ("3", "-3"), ("(4,3)", "(3,4)"), ("A", "B"), ("?", "3")]


@pytest.mark.parametrize(("answer", "accepted"), EQUAL)
def test_equal(answer, accepted):
    assert symbolic(readings(answer), [accepted]) == 1.0
    assert symbolic(readings(answer), ["17", accepted]) == 1.0


@pytest.mark.parametrize(("answer", "accepted"), UNEQUAL)
def test_unequal(answer, accepted):
    assert check({"rule": "symbolic", "readings": readings(answer), "accepted": [accepted]}) == 0.0


@pytest.mark.skipif("HORNBEAM_DATA" not in os.environ, reason="HORNBEAM_DATA is not set")
def test_real_answers_equal_what_their_solutions_box():
    from hornbeam.tasks import TaskSettings, load_tasks

    tasks = load_tasks([TaskSettings(source="math500", split="test", seed=0, count=60)]).tasks
    assert all(symbolic(readings(task.data["solution"]), [task.answer]) for task in tasks)
