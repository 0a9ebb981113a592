"""Delegations on paths: where they end, how often each counts, what they add to a node's sums.

A *delegation* on a path is all its nodes of one scope other than ""; its *end* is the last of them.
It may be interleaved with others. Its reward and its advantage stand at its end, the main agent's
at the leaf. The node at which an episode ends is the main agent's, whoever spoke there: a
delegation that ends the episode has no entry of its own, it shares the main agent's advantage and
counts as no delegation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from random import Random

from hornbeam.credit.returns import exact, rounded
from hornbeam.errors import DataError
from hornbeam.tree.nodes import Column, Tree


def walk(tree: Tree) -> Iterator[tuple[int, dict[str, int]]]:
    """Every node but the task, depth first, with the last node of each scope above it.

    The main agent's scope begins with the task. The mapping changes as the walk goes on.
    """
    last: dict[str, int] = {"": 0}
    held: list[int] = []
    stack = [*reversed(tree.children(0))]
    while stack:
        i = stack.pop()
        scope = tree.nodes[max(i, ~i)].scope
        if i < 0:  # all below node ~i is done
            before = held.pop()
            if before < 0:
                del last[scope]
            else:
                last[scope] = before
            continue
        yield i, last
        held.append(last.get(scope, -1))
        last[scope] = i
        stack.append(~i)
        stack.extend(reversed(tree.children(i)))


def rollouts(tree: Tree, outcome: Column) -> Iterator[tuple[int, list[int]]]:
    """(leaf, ends of the delegations on its path that have a reward) for every scored leaf.

    Raises `DataError` for a delegation's reward that is no finite number.
    """
    reward = tree.columns["reward"]
    for i, last in walk(tree):
        if outcome[i] is None:
            continue
        ends = [end for scope, end in last.items() if scope not in ("", tree.nodes[i].scope)]
        for end in ends:
            if not math.isfinite(reward[end] or 0.0):
                raise DataError(
                    f"task {tree.task.get('id')!r}, node {end}: reward {reward[end]!r} of a"
                    " delegation is not a finite number"
                )
        yield i, sorted(end for end in ends if reward[end] is not None)


def aligned(many: int, d: int, rng: Random | None = None) -> list[list[float]]:
    """The weights of the copies of each of `many` delegations of a rollout, d in all.

    Without `rng` one copy each, of weight d / many. With it copies of weight 1: drawn without
    replacement down to d, or each once and further ones drawn with replacement up to d, so that a
    delegation is expected d / many times (Hong et al. 2025, M-GRPO, arXiv 2511.13288).
    """
    if rng is None:
        return [[d / many] for _ in range(many)]
    every = range(many)
    kept = rng.sample(every, d) if many > d else [*every, *rng.choices(every, k=d - many)]
    return [[1.0] * kept.count(i) for i in every]


def sums(tree: Tree, outcome: Column, advantage: Column) -> dict[str, Column]:
    """Sums over the scored leaves below each node, of the advantage that the leaf gives that node.

    That is the advantage of the delegation to which the node belongs on the leaf's path, the
    leaf's own for nodes of the main agent and of a delegation that ends the episode. Columns
    `advantage_pos`, `advantage_neg` and `leaves` (how many give one), without regard to mass.
    """
    before, plus, minus, many = [-1] * len(tree), *([0] * len(tree) for _ in range(3))
    for i, last in walk(tree):
        here = tree.nodes[i].scope
        before[i] = last.get(here, -1)
        if outcome[i] is None:
            continue
        for scope, end in {**last, here: i}.items():
            own = advantage[i if scope in ("", here) else end]
            if own is not None:
                plus[end] += exact(max(own, 0.0))
                minus[end] += exact(min(own, 0.0))
                many[end] += 1
    for i in range(len(tree) - 1, 0, -1):
        if before[i] >= 0:
            for column in (plus, minus, many):
                column[before[i]] += column[i]
    return {
        "advantage_pos": [rounded(whole) for whole in plus],
        "advantage_neg": [rounded(whole) for whole in minus],
        "leaves": [*many],
    }
