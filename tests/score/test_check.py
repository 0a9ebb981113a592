"""What the checker says of answers (in this process; time-outs: test_pool)."""

import os

import pytest

from hornbeam.score.check_process import check, classes, misread, symbolic
from hornbeam.score.spelling import accepted_readings, decided, readings

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
    (r"x = \boxed{1} or x = \boxed{2}", "2"),
    ("(3,4)", "(3, 4)"),
    ("2√3", r"2\sqrt3"),
    ("√(x+1)", r"\sqrt{x+1}"),
    ("2*sqrt(3)", r"2\sqrt{3}"),
    ("25 pi", r"25\pi"),
    ("pi/2", r"\frac{\pi}{2}"),
]
UNEQUAL = [
    ("", "3"),
    (r"x = \boxed{1} or x = \boxed{2}", "1"),
    ("x^2 + 1", "x^2"),
    ("3", "-3"),
    ("(4,3)", "(3,4)"),
    ("A", "B"),
    ("?", "3"),
]


@pytest.mark.parametrize(("answer", "accepted"), EQUAL)
def test_equal(answer, accepted):
    assert symbolic(readings(answer), [accepted]) == 1.0
    assert symbolic(readings(answer), ["17", accepted]) == 1.0


def test_the_empty_set_has_two_signs():
    said, gold = r"\boxed{\varnothing}", r"\emptyset"
    assert decided(said, gold) or symbolic(readings(said), accepted_readings(gold)) == 1.0


@pytest.mark.parametrize(("answer", "accepted"), UNEQUAL)
def test_unequal(answer, accepted):
    assert check({"rule": "symbolic", "readings": readings(answer), "accepted": [accepted]}) == 0.0


APART = [  # (accepted, said): math-verify rounds to six decimals, and takes x + y = 3 for 3
    (r"\frac{1}{2^{99}}", r"\frac{1}{2^{98}}"),
    (r"\frac{1}{2004!}", r"\frac{1}{2006!}"),
    (r"10^{-9}\pi", r"2\cdot 10^{-9}\pi"),
    ("(0.0000001, 1)", "(0.0000002, 1)"),
    (r"\{0.0000001, 1\}", r"\{0.0000002, 1\}"),
    ("0.0000001x", "0.0000002x"),
    (r"[0, 10^{-8}]", r"[0, 10^{-9}]"),
    (r"\begin{pmatrix} 10^{-8} \\ 1 \end{pmatrix}", r"\begin{pmatrix} 10^{-9} \\ 1 \end{pmatrix}"),
    ("x = 10^{-8}", "x = 10^{-9}"),
    (r"\sqrt{2}", "x+y=\\sqrt{2}"),
    (r"x+y=\sqrt{2}", r"\sqrt{2}"),
]  # fmt: skip


@pytest.mark.parametrize(("accepted", "said"), APART)
def test_values_that_are_apart_are_not_equal(accepted, said):
    assert symbolic(readings(said), [accepted]) == 0.0
    assert symbolic(readings(accepted), [accepted]) == symbolic(readings(said), [said]) == 1.0


def test_a_decimal_stands_for_a_constant_to_a_millionth():
    assert symbolic(readings("0.00034641016"), [r"\frac{\sqrt{3}}{5000}"]) == 1.0
    assert symbolic(readings("0.000346"), [r"\frac{\sqrt{3}}{5000}"]) == 0.0


def test_equal_texts_have_one_class_and_the_first_is_its_name():
    texts = [r"\sqrt{8}", "x+1", r"2\sqrt2", "1+x", "3", "y+1", r"\sqrt 9"]
    assert classes([readings(t) for t in texts], [None] * 7) == [0, 1, 0, 1, 4, 5, 4]
    # texts whose class is known are not compared with each other
    assert classes([readings("3"), readings("3.0"), readings("4")], [7, 8, 7]) == [0, 1, 0]


def test_this_parser_judges_what_every_parser_should():
    assert misread() == []


@pytest.mark.skipif("HORNBEAM_DATA" not in os.environ, reason="HORNBEAM_DATA is not set")
def test_real_answers_equal_what_their_solutions_box():
    from hornbeam.tasks import TaskSettings, load_tasks

    tasks = load_tasks([TaskSettings(source="math500", split="test", seed=0, count=60)]).tasks
    assert all(symbolic(readings(task.data["solution"]), [task.answer]) for task in tasks)
