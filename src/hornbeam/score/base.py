"""What a scorer is: it fills one column of a tree, at the nodes it is asked about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from hornbeam.tree import Tree


class Scorer(Protocol):
    """Judges nodes of a tree. `column` names where its opinion stands."""

    column: str

    async def score(self, tree: Tree, nodes: Sequence[int]) -> list[float | None]:
        """One entry a node asked about; `None` where it has nothing to say (not zero)."""
        ...

    async def aclose(self) -> None:
        """Give back what is held."""
        ...
