"""Rewards of steps: as columns, and as returns of the paths through them.

r_k is what step k of a path was given (`ep.reward`, a tool's `Result`), R the outcome at its leaf,
T how many steps it has, g the discount; a step is a node. What came before the first ask is no
step's (node 0), and counts in no return.

    G = r_1 + g r_2 + ... + g^(T-1) (r_T + R)        g = 1 where returns = "sum"

Values of nodes made of G hold what was earned before the node, the same for all below it: without
that and divided by g^(k-1) they are the rewards to go from step k on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from hornbeam.errors import DataError
from hornbeam.protocols import CreditMethod
from hornbeam.tree.nodes import Column, Tree

STEP = "step_reward"  # and "step_reward.NAME" for named ones; those of a tool by its name


def step_columns(tree: Tree) -> dict[str, Column]:
    """The rewards of every node added up: all in `step_reward`, each name's in a column of its own.

    Nothing where no step was rewarded.
    """
    given: dict[str, dict[int, list[float]]] = {}
    for i, node in enumerate(tree.nodes):
        own = [(reward.name, reward.value) for reward in node.rewards]
        own += [(call.tool, call.reward) for call in node.calls if call.reward is not None]
        for name, value in own:
            for column in (STEP, f"{STEP}.{name}") if name else (STEP,):
                given.setdefault(column, {}).setdefault(i, []).append(value)
    return {
        column: [math.fsum(at[i]) if i in at else None for i in range(len(tree))]
        for column, at in given.items()
    }


def is_step(column: str) -> bool:
    """Whether a column is one of rewards of steps."""
    return column == STEP or column.startswith(f"{STEP}.")


def rewarded(tree: Tree) -> bool:
    """Whether a step of the tree was given a reward as it ran."""
    return any(n.rewards or any(c.reward is not None for c in n.calls) for n in tree.nodes)


def counted(tree: Tree, how: CreditMethod) -> Column | None:
    """The rewards of steps that a credit counts, None where there are none.

    A column that was put there, not given as the tree ran, counts where `returns` is set. Raises
    `DataError` where the credit has no meaning for those that there are.
    """
    given = rewarded(tree)
    if how.returns == "outcome" or not (given or how.returns is not None):
        return None
    steps = tree.columns.get(STEP) or (step_columns(tree)[STEP] if given else None)
    if steps is None or not any(steps):
        return None
    name = tree.task.get("id")
    if how.outcome_only:
        raise DataError(
            f"task {name!r}: its steps have rewards, and {how.outcome_only}: set"
            ' returns = "outcome" in the credit to leave them out'
        )
    for i, value in enumerate(steps):
        if value is not None and not math.isfinite(value):
            raise DataError(f"task {name!r}, node {i}: {STEP} {value!r} is not a finite number")
    return steps


def scales(tree: Tree, discount: float) -> list[float]:
    """g^(k-1) of every node, k its depth; 1 at the task."""
    out = [1.0] * len(tree)
    for i, node in enumerate(tree.nodes[1:], 1):
        out[i] = out[node.parent] * discount if node.parent else 1.0
    return out


def earned(tree: Tree, steps: Column | None, discount: float) -> list[float]:
    """r_1 + g r_2 + ... of every node's path, its own included; 0 at the task."""
    out = [0.0] * len(tree)
    if steps is None:
        return out
    for i, (node, scale) in enumerate(zip(tree.nodes, scales(tree, discount))):
        if i:
            out[i] = out[node.parent] + scale * (steps[i] or 0.0)
    return out


def path_returns(tree: Tree, outcome: Column, how: CreditMethod) -> Column:
    """G at the leaves that have an outcome. Without rewards of steps and discount: the outcome."""
    steps = counted(tree, how)
    if steps is None and how.discount == 1:
        return outcome
    own, scale = earned(tree, steps, how.discount), scales(tree, how.discount)
    return [None if r is None else own[i] + scale[i] * r for i, r in enumerate(outcome)]


def to_go(tree: Tree, how: CreditMethod) -> tuple[Sequence[float], Sequence[float]]:
    """(what was earned before each node, its scale): value minus that over scale is to go."""
    own = earned(tree, counted(tree, how), how.discount)
    before = [own[max(node.parent, 0)] for node in tree.nodes]
    return before, scales(tree, how.discount)
