"""Statistics against hand values and published tables."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbeam import stats
from hornbeam.errors import DataError

RIGHT = st.lists(st.booleans(), min_size=1, max_size=40)


def test_hits_by_hand() -> None:
    #            first  rest
    ranked = [
        [1.0, 0.0, 0.0],
        [0.0, 1.0, 0.0],  # right at place 2
        [0.0, 0.0, 1.0],  # right at place 3
        [],  # no answer
    ]
    found = stats.hits(ranked, 2)
    assert (found.hit_1, found.hit_k, found.gap, found.oracle) == (0.25, 0.5, 0.25, 0.75)
    assert stats.hits(ranked, 1).gap == 0


@pytest.mark.parametrize(
    ("won", "lost", "p"),
    [
        (0, 0, 1.0),
        (1, 0, 1.0),
        (5, 0, 2 / 32),
        (6, 1, 2 * (1 + 7) / 128),
        (1, 6, 2 * (1 + 7) / 128),
        (3, 3, 1.0),  # 2 * 42 / 64 is cut at 1
        (25, 11, 0.028862098),  # 2 * binomial(36, 1/2) up to 11
        (2000, 1800, math.erfc(199 / math.sqrt(2 * 3800))),  # as the normal has it, corrected
    ],
)
def test_mcnemar_by_hand(won: int, lost: int, p: float) -> None:
    both = 7
    ours = [True] * won + [False] * lost + [True] * both
    theirs = [False] * won + [True] * lost + [True] * both
    assert stats.mcnemar(ours, theirs) == pytest.approx(p, rel=3e-3)


@given(RIGHT)
def test_mcnemar_is_the_sum_of_its_binomial(right: list[bool]) -> None:
    n, few = len(right), min(sum(right), len(right) - sum(right))
    exact = 2 * sum(math.comb(n, i) for i in range(few + 1)) / 2**n
    assert stats.mcnemar(right, [not r for r in right]) == min(1, exact)


def test_wilson_by_hand() -> None:
    """At z = 1 and n = 3 the ends of 0 are 0 and 1/4; those of 1/2 of 3 are 1/4 and 3/4."""
    assert stats.wilson(0.0, 3, z=1) == (0.0, pytest.approx(0.25))
    assert stats.wilson(1.0, 3, z=1) == (pytest.approx(0.75), 1.0)
    assert stats.wilson(0.5, 3, z=1) == (pytest.approx(0.25), pytest.approx(0.75))
    with pytest.raises(DataError, match="at least one trial"):
        stats.wilson(0.5, 0)
    with pytest.raises(DataError, match="a share of 0 to 1, not 2"):
        stats.wilson(2, 3)


def test_newcombe_is_as_published() -> None:
    """Newcombe 1998, table II, method 10: 56/70 - 48/80 and 10/10 - 0/10."""
    low, high = stats.newcombe(0.8, stats.wilson(0.8, 70), 0.6, stats.wilson(0.6, 80))
    assert (round(low, 4), round(high, 4)) == (0.0524, 0.3339)
    low, high = stats.newcombe(1.0, stats.wilson(1.0, 10), 0.0, stats.wilson(0.0, 10))
    assert (round(low, 4), high) == (0.6075, 1.0)


def test_all_or_none_right_has_a_real_interval() -> None:
    """The bootstrap's has no width there; rewards between 0 and 1 keep it."""
    low, high = stats.interval([1.0] * 10)
    assert (low, high) == (pytest.approx(0.7225, abs=1e-4), 1.0)
    assert stats.interval([0.0] * 10) == (0.0, pytest.approx(0.2775, abs=1e-4))
    assert stats.interval([0.2, 1.0, 0.4]) == stats.bootstrap([0.2, 1.0, 0.4])


def test_the_bootstrap_tends_to_the_binomial() -> None:
    """80 of 100: the mean of a resample is binomial / 100, whose 2.5 % points are 72 and 87."""
    low, high = stats.bootstrap([1.0] * 80 + [0.0] * 20)
    assert (low, high) == pytest.approx((0.72, 0.87), abs=0.011)
    narrow = stats.bootstrap([1.0] * 80 + [0.0] * 20, level=0.5)
    assert low < narrow[0] < 0.8 < narrow[1] < high


def test_the_bootstrap_of_two_questions_by_hand() -> None:
    """Means 0, 1/2, 1 with chances 1/4, 1/2, 1/4: the quartiles lie on the steps."""
    assert stats.bootstrap([0.0, 1.0]) == (0.0, 1.0)
    assert stats.bootstrap([0.0, 1.0], level=0.4) == (0.5, 0.5)


def test_seeds_decide_the_bootstrap() -> None:
    values = [float(i % 7) for i in range(50)]
    assert stats.bootstrap(values, seed=3) == stats.bootstrap(values, seed=3)
    assert stats.bootstrap(values, seed=3) != stats.bootstrap(values, seed=4)


@given(RIGHT)
def test_pairs_reduce_to_their_differences(right: list[bool]) -> None:
    ours = [float(r) for r in right]
    assert stats.paired_bootstrap(ours, ours, draws=50) == (0.0, 0.0)
    nothing = [0.0] * len(ours)
    low, high = stats.paired_bootstrap(ours, nothing, draws=50)
    assert (low, high) == stats.bootstrap(ours, draws=50)
    below = stats.paired_bootstrap(nothing, ours, draws=50)
    assert below == pytest.approx((-high, -low))


@pytest.mark.parametrize(  # t tables: freedom, level, t
    ("freedom", "level", "t"),
    [(1, 0.95, 12.7062), (2, 0.95, 4.30265), (3, 0.9, 2.35336), (4, 0.99, 4.60409),
     (9, 0.95, 2.26216), (10, 0.95, 2.22814), (30, 0.95, 2.04227), (120, 0.95, 1.97993)],
)  # fmt: skip
def test_student_against_the_tables(freedom: int, level: float, t: float) -> None:
    values = [1.0, 3.0] + [2.0] * (freedom - 1)  # mean 2, squares add up to 2
    spread = math.sqrt(2 / freedom / (freedom + 1))
    low, high = stats.student(values, level=level)
    assert (low, high) == pytest.approx((2 - t * spread, 2 + t * spread), rel=1e-5)


def test_bad_input_is_said_in_one_line() -> None:
    with pytest.raises(DataError, match="at least one question"):
        stats.bootstrap([])
    with pytest.raises(DataError, match="finite"):
        stats.bootstrap([1.0, math.nan])
    with pytest.raises(DataError, match="3 questions here, 1 there"):
        stats.mcnemar([True] * 3, [True])
    with pytest.raises(DataError, match="3 questions here, 1 there"):
        stats.paired_bootstrap([1.0] * 3, [1.0])
    with pytest.raises(DataError, match="at least two"):
        stats.student([1.0])
    with pytest.raises(DataError, match="k must be"):
        stats.hits([[1.0]], 0)
