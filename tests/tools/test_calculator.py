"""The calculator answers everything, at once."""

import asyncio
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbeam.answers.arithmetic import (
    MAX_LENGTH,
    ArithmeticProblem,
    evaluate,
    operations,
    spaced,
    write_number,
)
from hornbeam.errors import RecipeError
from hornbeam.tasks import Task
from hornbeam.tools import calculate, make_tool
from hornbeam.workers.local_workers import LocalWorkers

WORTH = {
    "1+2": "3",
    "10/3": "3.3333333333",
    "-2^2": "-4",
    "2**-1": "0.5",
    "2^3^2": "512",
    "8 - 3 - 2": "3",
    "8 / 4 / 2": "1",
    "17 % 5": "2",
    "20% * 50": "10",
    "50% - 3": "-2.5",
    "7 // 2": "3",
    "-7 // 2": "-4",
    "1,200 + $3": "1203",
    "3 x 4 × 2 ÷ 6 − 1": "3",
    "--5": "5",
    ".5 + 5.": "5.5",
    "0.1 + 0.2": "0.3",
    "1.5e3": "1500",
    "27**(1/3)": "3",
    "2**0.5": "1.4142135624",
    "9**99": "2.951266543e+94",
    "-1/3000000": "-3.333333333e-7",
    "1\n+2": "3",
    "５+1": "6",
    "((((((((((7))))))))))": "7",
}


@pytest.mark.parametrize("expression", WORTH)
def test_values(expression):
    assert calculate(expression) == WORTH[expression]


PROBLEMS = {
    "": "empty",
    " \n": "empty",
    "1/0": "division by zero",
    "5 % 0": "division by zero",
    "0**-1": "division by zero",
    "9**9999": "too large",
    "2**9**5": "too large",
    "2**(10**50 + 0.5)": "too large",
    "0.5**(10**30 + 0.5)": "too large",
    "(10**300)*(10**300)*(10**300)": "too large",
    "(-8)**(1/3)": "broken power",
    "2(3)": "operator is missing",
    "1 2": "operator is missing",
    "1000,000": "not part of arithmetic",
    "1+": "number is missing at the end",
    "()": "number is missing before ')'",
    ")": "number is missing",
    "(1+2": "bracket is not closed",
    "__import__('os').system('true')": "'_' is not part",
    "5 = 5": "'=' is not part",
    "１²": "'²' is not part",
    "\x00": "not part",
    "🌳": "not part",
    "(" * 1_000_000: "longer than",
    "1+" * 1_000_000 + "1": "longer than",
    "(" * 900: "nested deeper",
    "-" * 900 + "1": "nested deeper",
    "2**" * 300 + "2": "nested deeper",
    "9" * 500: "digits",
    "1e999": "too large",
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("expression", PROBLEMS, ids=lambda text: repr(text[:20]))
def test_problems_come_back_as_text_at_once(expression):
    said = calculate(expression)
    assert said.startswith("error: ") and PROBLEMS[expression] in said
    assert len(said) < 200


@pytest.mark.parametrize("thing", [None, 7, ["1+1"], {"a": 1}, b"1+1"])
def test_what_is_not_text_is_told_so(thing):
    assert calculate(thing) == "error: the expression must be text"


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "expression",
    [
        "9**" * 39 + "9",
        "*".join(["99999999999"] * 80),
        "+".join(f"1/{n}" for n in range(1, 170)),
        "(" * 40 + "9**99" + ")" * 40,
        "1" * 100 + "**0.333333",
        "%".join(["7"] * 400),
        "2**0.5+" * 140 + "1",
    ],
)
def test_the_longest_ways_of_the_grammar_are_answered(expression):
    assert len(expression) <= MAX_LENGTH
    assert calculate(expression)


@given(st.text(alphabet="0123456789+-*/%^().,$x eE−×", max_size=60))
def test_any_text_of_the_alphabet_has_a_value_or_a_problem(text):
    said = calculate(text)
    if not said.startswith("error: "):
        assert write_number(evaluate(said)) == said or "." in said or "e" in said


@given(st.text(max_size=40))
def test_any_text_is_answered(text):
    assert isinstance(calculate(text), str)


whole = st.integers(0, 999).map(str)
tree = st.recursive(
    whole,
    lambda part: st.builds("({}{}{})".format, part, st.sampled_from("+-*"), part),
    max_leaves=8,
)


@given(tree)
def test_agrees_with_python_on_whole_numbers(expression):
    assert evaluate(expression) == eval(expression)


@given(tree)
def test_spaced_keeps_value_and_operations(expression):
    assert evaluate(spaced(expression)) == evaluate(expression)
    assert spaced(spaced(expression)) == spaced(expression)
    assert operations(expression) == sum(expression.count(sign) for sign in "+-*")


def test_operations_are_those_with_two_operands():
    assert operations("-(4 + 2) * 20% - 1") == 3
    assert operations("17 % 5") == 1
    assert operations("--5") == 0
    assert spaced("((154+50))") == "154 + 50"
    assert spaced("(1+2)*(3-4)") == "(1 + 2) * (3 - 4)"
    assert spaced("-2*-3+20%*5") == "-2 * -3 + 20% * 5"


def test_numbers_are_written_as_people_write_them():
    assert write_number(Fraction(-1, 8)) == "-0.125"
    assert write_number(Fraction(10**29)) == "1" + "0" * 29
    assert write_number(Fraction(10**30)) == "1e+30"
    with pytest.raises(ArithmeticProblem, match="empty"):
        operations("")


def test_the_tool_by_name_and_through_workers():
    calculator = make_tool("calculator")
    assert calculator("6 * 7") == "42"
    workers = LocalWorkers({"calculator": calculator})
    called = workers.call("calculator", {"expression": "1/0"}, Task("t", "?"))
    assert asyncio.run(called) == "error: division by zero"
    with pytest.raises(RecipeError, match="did you mean 'calculator'"):
        make_tool("calculater")
    with pytest.raises(RecipeError, match="'calculator' has no setting 'digits'"):
        make_tool("calculator", digits=3)
