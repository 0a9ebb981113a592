"""What a strategy is: settings that say where a tree should grow next. Pure ask and tell.

State goes in and comes out; it is a function of facts (which episode was sent where, which have
come back), so it can be read off a stored tree again. Tells come in any order, twice is once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from hornbeam.tree import Tree


@dataclass(frozen=True, slots=True)
class Fork:
    """Grow episode number `episode` from node `node`, to its end or for `steps` nodes."""

    episode: int
    node: int
    steps: int | None = None


@dataclass(slots=True)
class State:
    """`asked`: episode -> node it grows from. `told`: episode -> last node that it grew.

    Whoever grows the tree writes it; a strategy only reads it.
    """

    asked: dict[int, int] = field(default_factory=dict)
    told: dict[int, int] = field(default_factory=dict)


def restore(tree: Tree) -> State:
    """The state that a stored tree stands for: episodes with nodes were asked, ended ones told."""
    asked: dict[int, int] = {}
    told: dict[int, int] = {}
    for i, node in enumerate(tree.nodes[1:], 1):
        asked.setdefault(node.episode, node.parent)
        if node.done:
            told[node.episode] = i
    return State(asked, told)


class Strategy(Protocol):
    """Where a tree grows. Holds settings only."""

    def ask(self, tree: Tree, state: State) -> list[Fork]:
        """Forks to start now, none of them asked before; may be empty while episodes are out.

        Equal trees (whatever the order of their nodes) and equal states give equal forks: draws
        come from `tree.seed`. Empty while nothing is out means the tree is grown.
        """
        ...

    def leaves(self) -> int:
        """How many episodes a grown tree has, or the most it can have."""
        ...
