"""What a strategy is: settings that say where a tree should grow next. Pure ask and tell.

State goes in and comes out; it is a function of facts (which episode was sent where, which have
come back), so it can be read off a stored tree again. Tells come in any order, twice is once.
"""

from __future__ import annotations

from pydantic import Field

from hornbeam.protocols import State, Strategy
from hornbeam.tree.nodes import Tree


def restore(tree: Tree, steps: int | None = None) -> State:
    """The state that a stored tree stands for: episodes with nodes were asked.

    Told are those that ended, and those that grew the `steps` nodes after which they pause.
    """
    asked: dict[int, int] = {}
    results: dict[int, int] = {}
    for i, node in enumerate(tree.nodes[1:], 1):
        asked.setdefault(node.origin.episode, node.parent)
        if node.done or (steps is not None and node.origin.step + 1 >= steps):
            results[node.origin.episode] = i
    return State(asked, results)


class Stepwise(Strategy):
    """Grows one node an episode, steered by a column of values, and marks the nodes it kept."""

    column: str = Field("value", min_length=1)

    @property
    def steps(self) -> int | None:
        """One node an episode."""
        return 1

    @property
    def reads(self) -> tuple[str, ...]:
        """The column of values."""
        return (self.column,)

    @property
    def makes(self) -> tuple[str, ...]:
        """What was kept last."""
        return ("kept",)
