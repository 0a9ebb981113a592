"""What strategies and choosers read off a tree: a node's place, its worth, the best of several."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

from hornbeam.errors import ScoreError
from hornbeam.tree.nodes import Tree

FLOOR = 1e-6  # of a factor of a product of chances, as in the code published with MASPRM


def chance(value: float, floor: float = FLOOR) -> float:
    """(v + 1)/2 of a value v in [-1, 1], and at least `floor`.

    A factor of 0 would leave all others without a say, and tanh is exactly -1 for z < -9.1 in
    float32; a judge of one vote says -1 of every step that it takes for wrong.
    """
    return max(floor, (value + 1) / 2)


def place(tree: Tree, i: int) -> tuple[int, int]:
    """(episode, step): what names a node whatever its index."""
    return tree.nodes[i].origin.episode, tree.nodes[i].origin.step


def failed(tree: Tree, i: int) -> bool:
    """Whether node i failed: it is never grown on, and gives no answer."""
    return bool(tree.nodes[i].error)


def ended(tree: Tree, i: int) -> bool:
    """Whether nothing can grow from node i: its episode ended there, or it failed."""
    return tree.nodes[i].done or failed(tree, i)


def worth(tree: Tree, i: int, column: str) -> float | None:
    """The entry of node i in a column; `None` for a failed node and where there is no opinion.

    Raises `ScoreError` for NaN: it has no place in any order.
    """
    values = tree.columns.get(column)
    value = None if values is None or failed(tree, i) else values[i]
    if value is not None and math.isnan(value):
        episode, step = place(tree, i)
        raise ScoreError(
            f"column {column!r} is NaN at episode {episode}, step {step}: fix the scorer"
        )
    return value


def best(tree: Tree, nodes: Sequence[int], column: str, many: int, draw: str) -> list[int]:
    """The `many` nodes of highest worth, best first; no worth is below all, failed are left out.

    Ties are drawn with seed `draw`; `nodes` come in an order that does not hang on indices.
    """
    there = [i for i in nodes if not failed(tree, i)]
    Random(draw).shuffle(there)
    values = {i: worth(tree, i, column) for i in there}
    there.sort(key=lambda i: _rank(values[i]), reverse=True)  # stable: the shuffle settles ties
    return there[:many]


def _rank(value: float | None) -> float:
    return -math.inf if value is None else value
