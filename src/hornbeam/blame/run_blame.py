"""Which step lost a stored run: it is forked by the very growth that made it."""

from __future__ import annotations

from dataclasses import replace

from hornbeam.blame.find_drop import DEFAULT
from hornbeam.blame.result import Blame
from hornbeam.blame.search import BlameSettings
from hornbeam.blame.tree_forks import BlameForks, run_of, steps_of
from hornbeam.errors import DataError
from hornbeam.grow.grower import Grower
from hornbeam.store.keys import TreeKey
from hornbeam.tree.nodes import Tree


def blame_forks(tree: Tree, leaf: int, settings: BlameSettings = DEFAULT) -> BlameForks:
    """The strategy for one run of a tree; its forks have numbers that no run of the tree has.

    Raises `DataError` for a run without a step.
    """
    if not steps_of(tree, leaf):
        raise DataError(f"the run that ends at node {leaf} has no step, so none that lost it")
    first = 1 + max(node.origin.episode for node in tree.nodes)
    given = settings.model_dump(include={*BlameSettings.model_fields, *settings.model_fields_set})
    return BlameForks(**{**given, "runs": 1, "first": first})


async def blame_run(
    grower: Grower, key: TreeKey, tree: Tree, leaf: int, settings: BlameSettings = DEFAULT
) -> tuple[Blame, Tree]:
    """What lost the run that ends at `leaf`, and the tree of its forks; the run is episode 0 there.

    The grower's program is replayed to each fork and goes on with its agents, tools and worlds; its
    scorer judges how each ends, the run again too. What its ledger's budget stops is no error:
    forks that have ended by then count. Raises `DataError` for a run without a step, and as growth
    does.
    """
    how = blame_forks(tree, leaf, settings)
    ledgers = grower.ledgers or (lambda _: grower.ledger)
    grown = await replace(grower, strategy=how, ledgers=ledgers).grow(key, run_of(tree, leaf))
    return how.blames(grown)[0], grown
