"""Growing the trees of a step in two parts: their trunks, then branches spread over the tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hornbeam.grow.grower import Grower
from hornbeam.protocols import Keeper
from hornbeam.search import Branch
from hornbeam.search.branch import FORKS
from hornbeam.search.spread import branches
from hornbeam.store.keys import Stored, TreeKey
from hornbeam.tree.nodes import Column, Tree

Starts = Sequence[tuple[TreeKey, Tree | Stored]]


class _Unfinished:
    """A keeper of trees that will grow on: they are not done, nor are their columns told."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self.begin, self.write, self.opinion = keeper.begin, keeper.write, keeper.opinion

    def columns(self, key: TreeKey, columns: Mapping[str, Column]) -> None:
        """They are told when the tree is grown."""

    def done(self, key: TreeKey) -> None:
        """It is not."""


def is_spread(grower: Grower) -> bool:
    """Whether the trees of a step share a budget of branches."""
    return isinstance(grower.strategy, Branch) and grower.strategy.spread


async def grow_spread(
    grower: Grower, starts: Starts, grown: Sequence[Tree], at_once: int
) -> list[Tree]:
    """The trees of these starts; `grown` are those of the same step that are grown already.

    What each gets depends on the trunks alone, so a step that was stopped is spread as before.
    """
    how = grower.strategy
    assert isinstance(how, Branch)
    keeper = None if grower.keeper is None else _Unfinished(grower.keeper)
    first = replace(grower, keeper=keeper, ended=None, grown=None)
    trunks = await first.grow_all(starts, at_once)
    order = sorted([*trunks, *grown], key=lambda tree: tree.seed)
    given = {id(tree): n for tree, n in zip(order, branches(how, order))}
    rest: list[tuple[TreeKey, Tree | Stored]] = []
    for (key, _), tree in zip(starts, trunks):
        tree.column(FORKS)[0] = float(given[id(tree)])
        rest.append((key, Stored(tree, False, [])))
    return await grower.grow_all(rest, at_once)
