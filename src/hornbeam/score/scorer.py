"""What scorers and guides are: each fills one column of a tree, at the nodes it is asked about.

A *scorer* judges outcomes, when an episode has ended. A *guide* has an opinion of any step, when it
was grown, so that a strategy can steer by it; what it computes is paid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from hornbeam.engine.request import Barrier
from hornbeam.tree.nodes import Tree


class Scorer(Protocol):
    """Judges nodes of a tree. `column` names where its opinion stands."""

    column: str

    async def score(self, tree: Tree, nodes: Sequence[int]) -> list[float | None]:
        """One entry a node asked about; `None` where it has nothing to say (not zero)."""
        ...

    async def aclose(self) -> None:
        """Give back what is held."""
        ...


@dataclass(frozen=True, slots=True)
class Opinions:
    """What a guide says: one value a node asked about, and how many tokens it ran for that."""

    values: list[float | None]
    tokens: int = 0


class Guide(Protocol):
    """Values of steps. `barrier` lets it wait until all growing episodes wait for something."""

    column: str
    barrier: Barrier
    # Those that run a node's own ids, each once a tree, may say so: reads_ids = True.

    def most(self, tree: Tree, nodes: Sequence[int]) -> int:
        """The most tokens that `judge` can run for these nodes."""
        ...

    async def judge(self, tree: Tree, nodes: Sequence[int]) -> Opinions:
        """Opinions of nodes that were just grown, parents before children; `None` for no opinion.

        `tree` is the one growing tree itself: a guide may keep what it computed for its nodes
        until `forget`.
        """
        ...

    def forget(self, tree: Tree) -> None:
        """Give back what is kept for a tree, which is grown."""
        ...

    async def aclose(self) -> None:
        """Give back what is held."""
        ...
