"""Independent growth: n episodes from the task, no forks (best-of-n, GRPO's group)."""

from __future__ import annotations

from pydantic import Field

from hornbeam.protocols import Fork, State, Strategy
from hornbeam.tree.nodes import Tree


class Independent(Strategy):
    """Grow `n` episodes from node 0."""

    n: int = Field(8, ge=1)

    def ask(self, tree: Tree, state: State) -> list[Fork]:
        """All that were not asked yet, at once."""
        if len(state.asked) >= self.n:
            return []
        return [Fork(episode, 0) for episode in range(self.n) if episode not in state.asked]

    def may_fork(self, tree: Tree, state: State, node: int) -> bool:
        """At the task alone."""
        return not node

    def leaves(self) -> int:
        """How many episodes a grown tree has: n."""
        return self.n
