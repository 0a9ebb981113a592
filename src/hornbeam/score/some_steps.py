"""A guide that judges some steps alone: those that whoever it serves will read."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hornbeam.protocols import Guide, Opinions
from hornbeam.tree.nodes import Tree


class SomeSteps:
    """Another guide, asked about the nodes that are `wanted`; the others have no value."""

    def __init__(self, guide: Guide, wanted: Callable[[Tree, int], bool]) -> None:
        self.guide, self.wanted = guide, wanted
        self.column, self.barrier = guide.column, guide.barrier
        self.reads_ids = bool(getattr(guide, "reads_ids", False))

    def most(self, tree: Tree, nodes: Sequence[int]) -> int:
        """The most tokens that the guide can run for those that are wanted."""
        some = self._some(tree, nodes)
        return self.guide.most(tree, some) if some else 0

    async def judge(self, tree: Tree, nodes: Sequence[int]) -> Opinions:
        """What the guide says of those that are wanted."""
        some = self._some(tree, nodes)
        if not some:
            return Opinions([None] * len(nodes))
        said = await self.guide.judge(tree, some)
        values = dict(zip(some, said.values))
        return Opinions([values.get(i) for i in nodes], said.tokens)

    def _some(self, tree: Tree, nodes: Sequence[int]) -> list[int]:
        return [i for i in nodes if self.wanted(tree, i)]

    def forget(self, tree: Tree) -> None:
        """As the guide does."""
        self.guide.forget(tree)

    async def aclose(self) -> None:
        """As the guide does."""
        await self.guide.aclose()
