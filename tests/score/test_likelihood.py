"""Likelihood and ensembles, by hand."""

import asyncio
import math

import pytest

from hornbeam.errors import ScoreError
from hornbeam.score.ensemble import EnsembleGuide
from hornbeam.score.likelihood import LikelihoodGuide
from hornbeam.tree.nodes import Node, Tree, floats, ids


def tree():
    out = Tree({"id": "q"})
    out.append(Node(0, tokens=ids([1, 2]), logprobs=floats([-1.0, -2.0])))
    out.append(Node(1, tokens=ids([3]), logprobs=floats([-0.5])))
    out.append(Node(1))
    out.append(Node(1, tokens=ids([3]), logprobs=floats([-0.5]), error="it fell"))
    return out


def judged(guide, given, nodes):
    result = asyncio.run(guide.judge(given, nodes))
    assert result.tokens == guide.most(given, nodes) == 0
    return result.values


@pytest.mark.parametrize(
    ("over", "join", "wanted"),
    [
        ("step", "sum", [-3.0, -0.5]),
        ("step", "mean", [-1.5, -0.5]),
        ("path", "sum", [-3.0, -3.5]),
        ("path", "mean", [-1.5, -3.5 / 3]),
    ],
)
def test_likelihood_of_a_step_and_of_a_path(over, join, wanted):
    found = judged(LikelihoodGuide("l", over, join), tree(), [1, 2, 3, 4])
    assert found[:2] == pytest.approx(wanted)
    assert found[2:] == [None, None]


def columns(**more):
    out = tree()
    for name, values in more.items():
        out.columns[name] = values
    return out


def test_a_weighted_sum():
    given = columns(a=[None, 0.5, 1.0, None, -1.0], b=[None, -0.5, 1.0, 1.0, -1.0])
    found = judged(EnsembleGuide({"a": 3, "b": 1}), given, [1, 2, 3, 4])
    assert found == [0.25, 1.0, None, -1.0]  # (1.5 - 0.5) / 4
    assert judged(EnsembleGuide({"a": 1, "b": -1}), given, [1]) == [0.5]  # (0.5 + 0.5) / 2


def test_a_weighted_product():
    given = columns(a=[None, 0.0, 1.0, None, -1.0], b=[None, 0.5, 1.0, 1.0, 0.3])
    found = judged(EnsembleGuide({"a": 2, "b": 1}, join="product"), given, [1, 2, 3, 4])
    assert found == [pytest.approx(2 * 0.5**2 * 0.75 - 1), 1.0, None, pytest.approx(-1)]
    # one factor of 0 is held at 1e-6: the other columns still tell the nodes apart
    given = columns(a=[None, -1.0, -1.0, -1.0, -1.0], b=[None, 0.9, -0.9, 0.1, -1.0])
    found = judged(EnsembleGuide({"a": 1, "b": 1}, join="product"), given, [1, 2, 3, 4])
    assert sorted(found) == [found[3], found[1], found[2], found[0]]
    assert len(set(found)) == 4 and min(found) >= -1


@pytest.mark.parametrize(
    ("weights", "join", "message"),
    [
        ({}, "sum", "at least one column"),
        ({"a": 0.0}, "sum", "at least one column"),
        ({"a": math.nan}, "sum", "at least one column"),
        ({"a": -1.0}, "product", "no weight below 0"),
        ({"ensemble": 1.0}, "sum", "part of itself"),
    ],
)
def test_weights_that_make_no_ensemble(weights, join, message):
    with pytest.raises(ScoreError, match=message):
        EnsembleGuide(weights, join=join)


def test_a_column_that_nobody_filled_or_that_is_no_chance():
    with pytest.raises(ScoreError, match="no column 'a': name its guide before"):
        judged(EnsembleGuide({"a": 1.0}), tree(), [1])
    given = columns(a=[None, -3.5, None, None, None])
    with pytest.raises(ScoreError, match=r"'a' of node 1 is -3.5: a product"):
        judged(EnsembleGuide({"a": 1.0}, join="product"), given, [1])
