"""Visits of states: what followed each step, pooled over the steps taken in one state.

A *visit* is a step of one rollout; a node counts once for each scored leaf below it, so that a tree
is worth what its rollouts are. The return of a visit is G_t = r_t + gamma r_(t+1) + ..., the last
r with the outcome; means and spreads are folded up the tree, linear in nodes. Sums are rounded
once: no result depends on the order of siblings, nodes or trees.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from hornbeam.credit.baselines import centred, equal, standardised
from hornbeam.credit.returns import leaf_mean
from hornbeam.credit.step_rewards import counted
from hornbeam.protocols import CreditMethod
from hornbeam.tree.nodes import Column, Tree, fold_up

StateStd = Literal["sample", "population", "none"]


class Visits(NamedTuple):
    """The returns of some visits: how many, their mean, sqrt(sum (G - mean)^2), and their range."""

    many: int
    mean: float
    root: float
    low: float
    high: float


def pooled(parts: Sequence[Visits]) -> Visits:
    """All visits of the parts as one set."""
    if len(parts) == 1:
        return parts[0]
    many = sum(part.many for part in parts)
    mean = math.fsum(part.many * part.mean for part in parts) / many
    apart = [math.sqrt(part.many) * (part.mean - mean) for part in parts]
    root = math.hypot(*sorted(map(abs, [*apart, *(part.root for part in parts)])))
    low, high = min(part.low for part in parts), max(part.high for part in parts)
    return Visits(many, mean, root, low, high)


def step_visits(
    tree: Tree, outcome: Column, gamma: float, how: CreditMethod
) -> list[Visits | None]:
    """The visits of every node with what followed them; `None` where no leaf below has an outcome.

    The rewards of steps count that `how` counts. The task's entry is of no use.
    """
    steps = counted(tree, how) or [None] * len(tree)
    reward = tree.columns["reward"]

    def last(leaf: int) -> Visits | None:
        if not leaf or outcome[leaf] is None:
            return None
        value = (reward[leaf] or 0.0) + (steps[leaf] or 0.0)
        return Visits(1, value, 0.0, value, value)

    def before(i: int, below: list[Visits | None]) -> Visits | None:
        there = [each for each in below if each is not None]
        if not there:
            return None
        many, mean, root, low, high = pooled(there)
        own = steps[i] or 0.0
        return Visits(many, own + gamma * mean, gamma * root, own + gamma * low, own + gamma * high)

    return fold_up(tree, last, before)


def relative(own: Visits, pool: Visits, std: StateStd) -> float:
    """(mean of G here - that of the pool) / its std; exactly 0 where all of the pool are equal."""
    if equal([pool.low, pool.high]):
        return 0.0
    difference = own.mean - pool.mean
    if std == "none":
        return difference
    return difference / (pool.root / math.sqrt(pool.many - (std == "sample")))


def pools(
    trees: Sequence[Tree], visits: Sequence[Sequence[Visits | None]]
) -> dict[str, list[Visits]]:
    """The visits of each state, node by node; nodes whose state is not known are in none."""
    out: dict[str, list[Visits]] = {}
    for tree, own in zip(trees, visits):
        for node, each in zip(tree.nodes, own):
            if each is not None and node.state:
                out.setdefault(node.state, []).append(each)
    return out


def episode_shares(
    trees: Sequence[Tree], outcomes: Sequence[Column], std: StateStd
) -> list[Column]:
    """The advantage of whole rollouts, (R - mean)/std, at every node the mean over those below."""
    rewards = [value for outcome in outcomes for value in outcome if value is not None]
    white = iter(centred(rewards) if std == "none" else standardised(rewards, std))
    out = []
    for tree, outcome in zip(trees, outcomes):
        column = leaf_mean(tree, [None if value is None else next(white) for value in outcome])
        column[0] = None
        out.append(column)
    return out
