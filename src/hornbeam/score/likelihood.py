"""What the policy itself thought of its steps: likelihood as a guide, free of tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Literal

from hornbeam.engine.request import Barrier
from hornbeam.protocols import Opinions
from hornbeam.tree.nodes import Tree

Over = Literal["step", "path"]
Join = Literal["mean", "sum", "last", "lowest"]


def joined(values: Sequence[float], join: Join, chunk: int = 0) -> float:
    """One value of those of tokens, [n > 0]: their mean or sum, or one over `chunk` of them.

    "last": the mean of the last `chunk`; "lowest": the least mean of any `chunk` in a row (group
    and tail confidence of DeepConf, arXiv 2508.15260, on the tokens' own log-probs). Both look at
    equally many tokens however long steps are; of fewer than `chunk` all are taken.
    """
    if join == "sum":
        return math.fsum(values)
    if join == "mean" or chunk >= len(values):
        return math.fsum(values) / len(values)
    if join == "last":
        return math.fsum(values[-chunk:]) / chunk
    sums = [0.0, *accumulate(values)]
    return min(b - a for a, b in zip(sums, sums[chunk:])) / chunk


class LikelihoodGuide:
    """Log-probs of sampled tokens, as the engine told them, in nats: at most 0, and not bounded.

    `over`: those of the step, or of its whole path. `join`, `chunk`: how they are `joined`. With a
    `scale` the value is 2 exp(scale x) - 1, in [-1, 1]. A step without tokens and one that failed
    have no value.
    """

    def __init__(
        self,
        column: str = "likelihood",
        over: Over = "path",
        join: Join = "mean",
        chunk: int = 0,
        scale: float | None = None,
    ) -> None:
        self.column, self.over, self.scale = column, over, scale
        self.join, self.chunk = join, chunk
        self.barrier = Barrier()

    def most(self, tree: Tree, nodes: Sequence[int]) -> int:
        """Nothing is run."""
        return 0

    async def judge(self, tree: Tree, nodes: Sequence[int]) -> Opinions:
        """One value a node."""
        return Opinions([self._value(tree, i) for i in nodes])

    def _value(self, tree: Tree, i: int) -> float | None:
        node = tree.nodes[i]
        if not node.logprobs or node.error:
            return None
        path = tree.path(i) if self.over == "path" else [i]
        told = [value for k in path for value in tree.nodes[k].logprobs]
        found = joined(told, self.join, self.chunk)
        return found if self.scale is None else 2 * math.exp(self.scale * min(found, 0.0)) - 1

    def forget(self, tree: Tree) -> None:
        """Nothing is kept."""

    async def aclose(self) -> None:
        """Nothing is held."""
