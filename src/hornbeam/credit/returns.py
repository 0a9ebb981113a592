"""Credit's first move, up the tree: how the outcome of leaves comes to the nodes above them.

Axes: one entry a node, in the tree's order. Sums are exact before they are rounded once, so no
result depends on the order of siblings, nodes or trees.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from hornbeam.tree.nodes import Column, Tree, fold_up

UNIT = 1 << 1074  # a float is a whole number of 2^-1074, so integers add floats exactly


def exact(value: float) -> int:
    """The value as a whole number, in which sums lose nothing."""
    above, under = value.as_integer_ratio()
    return above * (UNIT // under)


def rounded(whole: int) -> float:
    """The float nearest to a sum of `exact` values."""
    return whole / UNIT


def below(tree: Tree, amount: Column) -> list[float]:
    """Sum of the entries at the leaves below each node (at a leaf its own): sum_{i in L(n)} x_i.

    `None` counts as nothing. Linear in nodes, rounded once as `math.fsum` rounds.
    """
    whole = fold_up(tree, lambda leaf: exact(amount[leaf] or 0.0), lambda _, parts: sum(parts))
    return [rounded(each) for each in whole]


def counts(tree: Tree, outcome: Column) -> list[int]:
    """Number of leaves below each node that have an outcome: |L(n)|."""

    def one(leaf: int) -> int:
        return int(leaf > 0 and outcome[leaf] is not None)

    return fold_up(tree, one, lambda _, parts: sum(parts))


def leaf_mean(tree: Tree, outcome: Column) -> Column:
    """V(n) = mean of the outcomes of the leaves below; `None` where none has one (TreeRL)."""
    totals, many = below(tree, outcome), counts(tree, outcome)
    return [total / count if count else None for total, count in zip(totals, many)]


def child_mean(tree: Tree, outcome: Column) -> Column:
    """V(n) = mean of V over the children that have one; at a leaf its outcome (value back-up)."""
    return fold_up(tree, lambda leaf: outcome[leaf] if leaf else None, lambda _, v: mean(v))


def mean(values: Sequence[float | None]) -> float | None:
    """Mean of what is there, `None` of nothing."""
    there = [value for value in values if value is not None]
    return math.fsum(there) / len(there) if there else None
