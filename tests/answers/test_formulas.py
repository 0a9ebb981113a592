"""Formulas of a sheet: what they are worth by hand, and that every sheet is answered."""

import itertools
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbeam.answers.arithmetic import ArithmeticProblem
from hornbeam.answers.formulas import COLUMNS, MAX_READ, ROWS, cells_of, plain, values

CELLS = {"A1": "3", "A2": "4.5", "B1": "=A1*A2", "B2": "tea", "C1": "=SUM(A1:B1)", "G1": "-7"}
NAMES = [f"{column}{row}" for column in COLUMNS for row in range(1, ROWS + 1)]


def value(written, cells=CELLS):
    return values({**cells, "H9": written}, ["H9"])["H9"]


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("=A1", 3),
        ("=b1 + c1", 30),
        ("=-G1^2", -49),
        ("=G1^2", 49),
        ("=A1/2", Fraction(3, 2)),
        ("=AVERAGE(A1:A2)", Fraction(15, 4)),
        ("=2*(MAX(A1:B2)-min(A1:B2))", 21),
        ("=COUNT(A1:C2)", 4),
        ("=SUM(B2:A1)", 21),  # ends in any order; texts are left out
        ("=SUM(D1:D9)+E5", 0),  # empty cells
        ("=1E3", 1000),
        ("=20%*A1", Fraction(3, 5)),
        ("12", 12),
        ("-0.5", Fraction(-1, 2)),
        ("1,200", 1200),
        ("tea 2", "tea 2"),
        ("2+2", "2+2"),
        ("", None),
    ],
)
def test_values_by_hand(written, found):
    assert value(written) == found


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("=H9", "H9 refers to itself"),
        ("=COUNT(A1:H20)", "H9 refers to itself"),
        ("=B2*2", "B2 holds a text"),
        ("=9^9^9^9", "the result is too large"),
        ("=FOO(A1)", "there is no FOO: SUM, MIN, MAX, COUNT, AVERAGE"),
        ("=SUM(SUM(A1:A2))", "'SUM' is neither a cell nor a function"),
        ("=__import__('os')", "'OS' is neither a cell nor a function"),
        ("=A1:A2", "':' is not part of arithmetic"),
        ("=2A1", "'A' is not part of arithmetic"),
        ("=A99", "'A99' is no cell or range, as B2 or A1:B3; cells are A1 to H20"),
        ("=SUM(A1:A99)", "cells are A1 to H20"),
        ("=AVERAGE(D1:D2)", "D1:D2 holds no number"),
        ("=1/D1", "division by zero"),
        ("=", "the expression is empty"),
        ("=" + "(" * 90, "nested deeper"),
        ("=" + "1+" * 80, "a formula is longer than 100 characters"),
        ("=SUM(" + "Z" * 60 + ")", "is no cell or range"),
    ],
)
def test_what_has_no_value_says_why_in_a_line(written, said):
    problem = value(written)
    assert isinstance(problem, ArithmeticProblem) and said in str(problem)
    assert "\n" not in str(problem) and len(str(problem)) < 160


def test_a_cycle_is_told_of_at_each_of_its_cells_and_behind_it():
    cells = {"A1": "=B1", "B1": "=C1+1", "C1": "=A1", "D1": "=A1*2", "E1": "5"}
    found = values(cells, cells)
    told = [name for name, each in found.items() if isinstance(each, ArithmeticProblem)]
    assert told == ["A1", "B1", "C1", "D1"] and found["E1"] == 5
    assert "refers to itself" in str(found["D1"])


def test_a_chain_over_the_whole_sheet_is_no_recursion():
    cells = {name: f"={after}+1" for name, after in itertools.pairwise(NAMES)} | {NAMES[-1]: "1"}
    assert values(cells, ["A1"])["A1"] == len(NAMES)


def test_a_sheet_that_reads_itself_over_and_over_is_stopped():
    many = "=" + "+".join([f"SUM({NAMES[0]}:{NAMES[-2]})"] * 8)
    found = values(dict.fromkeys(NAMES[:-1], many) | {"H20": "1"}, NAMES)
    assert found["H20"] == 1
    assert sum(isinstance(each, ArithmeticProblem) for each in found.values()) == len(NAMES) - 1
    chain = {n: "=" + "+".join([f"SUM({m}:H20)"] * 8) for n, m in itertools.pairwise(NAMES)}
    found = values(chain | {"H20": "1"}, ["A1"])
    assert f"more than {MAX_READ} cells are read" in str(found["A1"])


def test_sums_of_huge_fractions_are_stopped():
    cells = {name: f"=1/(3^200+{n})" for n, name in enumerate(NAMES[:100])}
    found = values(cells | {"H20": f"=SUM({NAMES[0]}:{NAMES[99]})"}, ["H20"])["H20"]
    assert "too large" in str(found) or "is read" in str(found)


def test_ranges():
    assert cells_of("b2") == [["B2"]]
    assert cells_of("A1:B2") == cells_of(" B2 : A1 ") == [["A1", "B1"], ["A2", "B2"]]
    for wrong in ("", "A", "A0", "A21", "I1", "A1:", "A1:B2:C3", "A1,B2", "1A", "A1" * 50):
        with pytest.raises(ArithmeticProblem, match="is no cell or range"):
            cells_of(wrong)


@given(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6), st.sampled_from("+-*"))
def test_a_formula_over_cells_is_the_arithmetic_of_their_numbers(left, right, sign):
    found = value(f"=A1{sign}B1", {"A1": str(left), "B1": str(right)})
    assert found == eval(f"left {sign} right")


@given(st.text(alphabet="=AB12:()+-*/^%., SUMX$", max_size=40), st.text(max_size=20))
def test_whatever_is_written_has_a_value_or_a_line(written, other):
    for each in (written, "=" + written, other, "=" + other):
        found = value(each, {"A1": "=B1", "B1": "2", "A2": each})
        assert found is None or isinstance(found, (Fraction, str, ArithmeticProblem))
        assert plain(each) is None or isinstance(plain(each), (Fraction, str))
