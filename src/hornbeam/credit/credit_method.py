"""What a credit method is: the two kinds, and what a path method sees of a leaf."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from hornbeam.settings import Settings
from hornbeam.tree.nodes import Column, Tree


@dataclass(frozen=True, slots=True)
class Leaf:
    """One scored leaf: which tree of the batch, which node, below which trunk, its outcome.

    `prior` is what column "prior" says of its task, at node 0; `parts` what the columns that the
    method names say of the leaf.
    """

    tree: int
    node: int
    trunk: int
    reward: float
    prior: float | None = None
    parts: tuple[float | None, ...] = ()


class CreditMethod(Settings, ABC):
    """What both kinds have in common."""

    @property
    def reads(self) -> str:
        """The column of a guide that it needs; "" where outcomes are enough."""
        return ""

    @property
    def anchored(self) -> bool:
        """Whether it reads a prior of each task, so that equal outcomes teach too."""
        return False

    @property
    def parts(self) -> tuple[str, ...]:
        """Columns that it reads at leaves, in place of the outcome."""
        return ()

    def check(self, trees: Sequence[Tree]) -> None:
        """Raise `DataError` where the trees of a task lack what it reads."""


class PathMethod(CreditMethod):
    """One advantage a leaf, in the shape of its groups."""

    @abstractmethod
    def advantages(self, groups: Sequence[Sequence[Leaf]]) -> list[list[float]]:
        """One advantage for every leaf of every group of the batch."""


class NodeMethod(CreditMethod):
    """One credit a node, from values at and above it."""

    @abstractmethod
    def credits(self, trees: Sequence[Tree], outcomes: Sequence[Column]) -> list[Column]:
        """One column for every tree of a group; `None` at the task and where nothing is known."""


class ScopeMethod(CreditMethod):
    """One advantage a delegation, at its end, and one for the main agent, at the leaf."""

    @abstractmethod
    def credits(
        self, trees: Sequence[Tree], outcomes: Sequence[Column]
    ) -> list[tuple[Column, Column]]:
        """(advantage, mass) for every tree of a group; `None` elsewhere, and a mass of None is 1.

        Mass says how often a delegation counts when it is trained, all rollouts that hold it added.
        """


Method = PathMethod | NodeMethod | ScopeMethod
