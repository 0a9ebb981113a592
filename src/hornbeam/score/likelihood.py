"""What the policy itself thought of its steps: likelihood as a guide, free of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from hornbeam.engine.request import Barrier
from hornbeam.protocols import Opinions
from hornbeam.tree.nodes import Tree


class LikelihoodGuide:
    """Log-probs of sampled tokens, as the engine told them, in nats: at most 0, and not bounded.

    `over`: those of the step, or of its whole path. `join`: their mean or their sum. A step without
    tokens and one that failed have no value.
    """

    def __init__(
        self,
        column: str = "likelihood",
        over: Literal["step", "path"] = "path",
        join: Literal["mean", "sum"] = "mean",
    ) -> None:
        self.column, self.over, self.join = column, over, join
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
        total = sum(sum(tree.nodes[k].logprobs) for k in path)
        if self.join == "sum":
            return total
        return total / sum(len(tree.nodes[k].logprobs) for k in path)

    def forget(self, tree: Tree) -> None:
        """Nothing is kept."""

    async def aclose(self) -> None:
        """Nothing is held."""
