"""Names of trees in a run, and how they are found again there."""

from __future__ import annotations

from typing import NamedTuple

from hornbeam.tree.nodes import Node, Tree


class TreeKey(NamedTuple):
    """Where a tree stands in a run. `str(key)` is "train/12/3"."""

    stage: str
    step: int
    number: int

    def __str__(self) -> str:
        return f"{self.stage}/{self.step}/{self.number}"


class Stored(NamedTuple):
    """A tree as it was left: closed nodes in `tree`, and the nodes that still wait for calls.

    `open`: at most one node an episode, never a parent, its parent and prefix indices of `tree`.
    """

    tree: Tree
    done: bool
    open: list[Node]
