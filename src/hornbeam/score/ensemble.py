"""Several guides' values as one: a weighted sum or product of their columns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from hornbeam.engine.request import Barrier
from hornbeam.errors import ScoreError
from hornbeam.protocols import Opinions
from hornbeam.search.values import chance
from hornbeam.tree.nodes import Tree


class EnsembleGuide:
    """Joins the columns that other guides filled; stands after them in the list of guides.

    "sum": sum_k w_k v_k / sum_k |w_k|, which stays in [-1, 1] where all values do. "product" takes
    values as chances p = (v + 1) / 2, at least 1e-6 each, and gives 2 prod_k p_k^{w_k} - 1. Where
    one of them has no opinion there is none.
    """

    def __init__(
        self,
        weights: Mapping[str, float],
        column: str = "ensemble",
        join: Literal["sum", "product"] = "sum",
    ) -> None:
        """`weights`: column -> weight. Raises `ScoreError` where they make no ensemble."""
        if not any(weights.values()) or not all(map(math.isfinite, weights.values())):
            raise ScoreError(f"ensemble {column!r}: give at least one column a weight other than 0")
        if column in weights:
            raise ScoreError(f"ensemble {column!r}: it cannot be a part of itself")
        if join == "product" and min(weights.values()) < 0:
            raise ScoreError(f"ensemble {column!r}: a product takes no weight below 0")
        self.weights, self.column, self.join = dict(weights), column, join
        self.barrier = Barrier()

    def most(self, tree: Tree, nodes: Sequence[int]) -> int:
        """Nothing is run."""
        return 0

    async def judge(self, tree: Tree, nodes: Sequence[int]) -> Opinions:
        """One value a node. Raises `ScoreError` where a column is missing or out of bounds."""
        missing = [name for name in self.weights if name not in tree.columns]
        if missing:
            raise ScoreError(
                f"ensemble {self.column!r}: no column {missing[0]!r}: name its guide before the"
                " ensemble"
            )
        return Opinions([self._value(tree, i) for i in nodes])

    def _value(self, tree: Tree, i: int) -> float | None:
        parts = [(tree.columns[name][i], weight) for name, weight in self.weights.items()]
        known = [(value, weight) for value, weight in parts if value is not None]
        if len(known) < len(parts):
            return None
        if self.join == "sum":
            return sum(v * w for v, w in known) / sum(abs(w) for _, w in known)
        for name in self.weights:
            value = tree.columns[name][i]
            if value is not None and abs(value) > 1:
                raise ScoreError(
                    f"ensemble {self.column!r}: {name!r} of node {i} is {value:.3g}: a product"
                    " takes values in [-1, 1]"
                )
        return 2 * math.prod(float(chance(v) ** w) for v, w in known) - 1

    def forget(self, tree: Tree) -> None:
        """Nothing is kept."""

    async def aclose(self) -> None:
        """Nothing is held."""
