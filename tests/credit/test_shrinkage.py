"""`anchor` with n0 = "auto": the prior and its weight from the other tasks of a batch."""

from __future__ import annotations

from statistics import fmean, variance

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbeam.credit import credit
from hornbeam.credit.baselines import leave_one_out
from hornbeam.credit.shrinkage import shrunk
from hornbeam.errors import RecipeError
from little_trees import tree

OUTCOMES = st.lists(st.sampled_from([0.0, 1.0, 0.5]), min_size=1, max_size=5)
BATCHES = st.lists(OUTCOMES, min_size=2, max_size=5)


def test_auto() -> None:
    # tasks of 1 0, 1 1 and 0 0: for the first the others' means are 1 and 0, m = 1/2, v = 0: RLOO
    # for the second: means 1/2, 0, m = 1/4, s = 1/16; var 1/2, 0 over 2, v = 1/8
    # l = 2/3 * (1/8)/(1/8 + 1/16) = 4/9; the third the same, with m = 3/4
    batch = [tree([0, 0], {1: a, 2: b}, n) for n, (a, b) in zip("xyz", ((1, 0), (1, 1), (0, 0)))]
    for t in batch:
        del t.columns["prior"]
    credit(batch, "anchor", n0="auto")
    got = [t.columns["advantage"][1:] for t in batch]
    assert got[0] == [1.0, -1.0]
    assert got[1] == pytest.approx([4 / 9 * 3 / 4] * 2)
    assert got[2] == pytest.approx([-4 / 9 * 3 / 4] * 2)


def test_tasks_of_one_outcome_and_batches_of_one_task() -> None:
    assert shrunk([[1.0, 0.0, 0.0]]) == [pytest.approx(leave_one_out([1.0, 0.0, 0.0]))]
    assert shrunk([[1.0], [0.0, 1.0]])[0] == [0.5]  # all it is told is the other task
    assert shrunk([[1.0], [0.0]]) == [[1.0], [-1.0]]
    assert shrunk([[], [1.0, 0.0]]) == [[], [1.0, -1.0]]


@given(batch=BATCHES)
def test_it_is_the_papers_formula(batch: list[list[float]]) -> None:
    n = len(batch)
    for i, (group, got) in enumerate(zip(batch, shrunk(batch))):
        others = [g for k, g in enumerate(batch) if k != i]
        m = fmean(fmean(g) for g in others)
        within = [variance(g) / len(g) for g in others if len(g) > 1]
        v, s = fmean(within or [0.0]), fmean((fmean(g) - m) ** 2 for g in others)
        share = (n - 1) / n * v / (v + s) if v else 0.0
        for j, (reward, a) in enumerate(zip(group, got)):
            rest = [r for k, r in enumerate(group) if k != j]
            b = (1 - share) * fmean(rest) + share * m if rest else m
            assert a == pytest.approx(reward - b, abs=1e-9)


@given(batch=BATCHES, data=st.data())
def test_what_is_subtracted_does_not_depend_on_the_outcome(
    batch: list[list[float]], data: st.DataObject
) -> None:
    i = data.draw(st.integers(0, len(batch) - 1))
    j = data.draw(st.integers(0, len(batch[i]) - 1))
    before = batch[i][j] - shrunk(batch)[i][j]
    batch[i][j] += 3.0
    assert batch[i][j] - shrunk(batch)[i][j] == pytest.approx(before, abs=1e-9)


@given(value=st.sampled_from([0.0, 1.0, 0.3]), many=st.integers(2, 4))
def test_all_outcomes_equal_give_exactly_zero(value: float, many: int) -> None:
    assert shrunk([[value] * many] * 3) == [[0.0] * many] * 3


def test_another_word_is_told() -> None:
    for bad in ("always", -1, True, float("inf")):
        with pytest.raises(RecipeError, match="n0: a number from 0 is expected, or"):
            credit([tree([0], {1: 1})], "anchor", n0=bad)
