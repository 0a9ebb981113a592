"""How much likelier a step is to the policy than to a second model: a guide without training.

For each token the ratio is log pi(token) - log pi_2(token), in nats. Where pi_2 is what the policy
was before it was trained by outcomes, the sum over a step is, up to a factor, its advantage: the
progress advantage (arXiv 2606.26080). Where pi_2 is a weaker model it is a contrast of two.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hornbeam.engine.request import Barrier
from hornbeam.errors import ScoreError
from hornbeam.protocols import Opinions
from hornbeam.score.likelihood import Join, Over, joined
from hornbeam.tree.nodes import Tree

if TYPE_CHECKING:
    from hornbeam.train.token_reader import TokenReader


class LogRatioGuide:
    """Ratios of the tokens of a step, or of its path, joined as likelihoods are.

    log pi is what the engine told as it sampled; `model` reads pi_2, each episode's new steps with
    all before them, at the temperature that the agent sampled at (1 where that is not in
    `temperatures`). With a `scale` the value is 2 sigmoid(scale x) - 1, in [-1, 1]. A step without
    tokens, one that failed and one longer than the model's context have no value, and those whose
    path holds tokens without log-probs.
    """

    def __init__(
        self,
        model: TokenReader,
        column: str = "log_ratio",
        over: Over = "step",
        join: Join = "sum",
        chunk: int = 0,
        scale: float | None = None,
        temperatures: Mapping[str, float] | None = None,
    ) -> None:
        self.model, self.column, self.over, self.scale = model, column, over, scale
        self.join, self.chunk = join, chunk
        self.temperatures = temperatures or {}
        self.barrier = Barrier()
        self._ratios: dict[int, dict[int, list[float]]] = {}  # by tree and node, of each token

    @property
    def vocabulary(self) -> int:
        """How many token ids its model knows."""
        return self.model.vocabulary

    def most(self, tree: Tree, nodes: Sequence[int]) -> int:
        """The tokens that `judge` runs for these nodes, if it is asked next."""
        return sum(tree.length(last) for last, _ in self._rows(tree, nodes))

    async def judge(self, tree: Tree, nodes: Sequence[int]) -> Opinions:
        """One value a node. Raises `ScoreError` where the model's outputs are not finite."""
        rows, known = self._rows(tree, nodes), self._ratios.setdefault(id(tree), {})
        for last, held in rows:
            ids = self._ids(tree, last)
            for temperature in dict.fromkeys(self._temperature(tree, i) for i in held):
                second = self.model.log_probs(ids, temperature)  # of ids[1:]
                for i in held:
                    if self._temperature(tree, i) == temperature:
                        known[i] = self._ratio(tree, i, second)
        values = [self._value(tree, i, known) for i in nodes]
        return Opinions(values, sum(tree.length(last) for last, _ in rows))

    def _rows(self, tree: Tree, nodes: Sequence[int]) -> list[tuple[int, list[int]]]:
        """(last node of a sequence that is run, the nodes that are read on it)."""
        from hornbeam.train.rows import carried

        known = self._ratios.get(id(tree), {})
        wanted = {k for i in nodes for k in (tree.path(i) if self.over == "path" else [i])}
        return carried(tree, sorted(i for i in wanted - known.keys() if self._reads(tree, i)))

    def _ids(self, tree: Tree, last: int) -> array[int]:
        ids = tree.sequence(last)
        if max(ids) >= self.model.vocabulary:
            raise ScoreError(
                f"{self.model.name}: task {tree.task.get('id')!r} holds id {max(ids)}, and the"
                f" model knows {self.model.vocabulary}: it is another tokenizer's"
            )
        return ids

    def _reads(self, tree: Tree, i: int) -> bool:
        node = tree.nodes[i]
        told = len(node.logprobs) == len(node.tokens) > 0
        return told and not node.error and tree.length(i) <= self.model.context

    def _ratio(self, tree: Tree, i: int, second: Sequence[float]) -> list[float]:
        node, end = tree.nodes[i], tree.length(i) - 1
        found = second[end - len(node.tokens) : end]
        if not all(map(math.isfinite, found)):
            raise ScoreError(
                f"{self.model.name}: a log-prob of task {tree.task.get('id')!r} is not finite: the"
                " model's weights are damaged, or it is another model's text"
            )
        return [first - other for first, other in zip(node.logprobs, found)]

    def _temperature(self, tree: Tree, i: int) -> float:
        return self.temperatures.get(tree.nodes[i].agent, 1.0)

    def _value(self, tree: Tree, i: int, known: Mapping[int, list[float]]) -> float | None:
        path = tree.path(i) if self.over == "path" else [i]
        said = [k for k in path if tree.nodes[k].tokens]
        if i not in known or any(k not in known for k in said):
            return None
        found = joined([ratio for k in said for ratio in known[k]], self.join, self.chunk)
        return found if self.scale is None else math.tanh(self.scale * found / 2)

    def forget(self, tree: Tree) -> None:
        """Drop what was read of a tree."""
        self._ratios.pop(id(tree), None)

    async def aclose(self) -> None:
        """Nothing is held beside the model."""
