"""One episode of a growing tree: where it stands, and how its nodes get there."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hornbeam.credit.step_rewards import step_columns
from hornbeam.episode.driver import Driver
from hornbeam.episode.known_asks import PathAsks
from hornbeam.grow.effects import EpisodeEffects
from hornbeam.protocols import Fork, Scorer
from hornbeam.tree.nodes import Node, Placed, Tree, canonical, ids

if TYPE_CHECKING:
    from hornbeam.grow.growing_tree import Growth


async def columns_of(
    scorer: Scorer, tree: Tree, nodes: Sequence[int]
) -> list[dict[str, float | None]]:
    """What a scorer says of each node, by column: all by its `verdicts`, or its one column."""
    verdicts: Any = getattr(scorer, "verdicts", None)
    if verdicts is not None:
        return list(await verdicts(tree, nodes))
    return [{scorer.column: value} for value in await scorer.score(tree, nodes)]


def finished(tree: Tree) -> Tree:
    """A grown tree in canonical order, the rewards of its steps in columns."""
    grown = canonical(tree)
    grown.columns.update(step_columns(grown))
    return grown


class EpisodeGrowth:
    """One episode on its way: where it stands in the tree, and how its nodes get there."""

    def __init__(self, growth: Growth, fork: Fork) -> None:
        tree = growth.tree
        self.growth, self.fork, self.at = growth, fork, fork.node
        self.open = growth.open.pop(fork.episode, None)
        self.indices = [0, *tree.path(fork.node)]
        self.path = [tree.nodes[i] for i in self.indices]
        # nodes to judge; those of an episode that was left half-grown were not judged yet
        self.grown = [i for i in self.indices if i and tree.nodes[i].origin.episode == fork.episode]
        self.step = 0
        if len(self.path) > 1 and self.path[-1].origin.episode == fork.episode:
            self.step = self.path[-1].origin.step + 1
        if self.open is not None:
            self.path.append(self.open)
        self.placed: tuple[int, int, Placed] = (-1, 0, Placed(ids()))
        self.ids: array[int] | None = None  # of the node it stands at, where they are known
        self.live: EpisodeEffects | None = None
        self.asks = PathAsks(growth.asks, self.indices)

    def driver(self, live: EpisodeEffects, paused: Driver | None) -> Driver:
        """The driver of this episode: the one that is paused at its fork, or a new one."""
        self.live = live
        how: dict[str, Any] = {
            "contexts": self.context,
            "commit": self.commit,
            "note": self.note if self.growth.grower.keeper is not None else None,
            "branched": self.branched,
            "known": self.asks,
            "episode": self.fork.episode,
            "steps": self.fork.steps,
        }
        if paused is not None:
            paused.go_on(**how)
            return paused
        return Driver(
            self.growth.grower.program,
            self.growth.task,
            self.path,
            live,
            **how,
            step=self.step,
            is_open=self.open is not None,
            limits=self.growth.grower.limits,
            seed=self.growth.tree.seed,
        )

    def context(self, k: int) -> array[int]:
        """The ids that path[k] was sampled after."""
        tree = self.growth.tree
        return tree.context(self.indices[k]) if k < len(self.indices) else tree.before(self.path[k])

    def note(self, node: Node, context: array[int]) -> None:
        """Keep a node that still waits for its calls."""
        growth, keeper = self.growth, self.growth.grower.keeper
        assert keeper is not None
        if not node.finish:
            keeper.write(growth.key, growth.tree, 0, node, True)
        else:
            keeper.write(growth.key, growth.tree, None, self.put(node, context), True)
        assert self.live is not None
        turn = node.origin.turn if node.finish else -1
        self.live.kept(self.fork.episode, turn, bool(node.calls))

    def commit(self, node: Node, context: array[int]) -> None:
        """Enter a finished node into the tree."""
        growth, keeper = self.growth, self.growth.grower.keeper
        if node.finish == "ready":  # the task itself
            growth.tree.nodes[0] = node
            growth.ready.set()
            index = 0
        else:
            node = self.put(node, context)
            index = self.at = growth.tree.append(node)
            self.ids = context + node.tokens
            self.grown.append(index)
            self.asks.committed(index, self.ids)
        if keeper is not None:
            keeper.write(growth.key, growth.tree, index, node)
        assert self.live is not None
        if self.live.worlds is not None:
            self.live.worlds.committed(self.fork.episode, index, node)

    def branched(self, k: int) -> None:
        """The episode left its path behind path[k], and goes on from there."""
        self.at = self.indices[k]
        self.asks.left(self.at)
        self.placed, self.ids = (-1, 0, Placed(ids())), None
        self.growth.state.asked[self.fork.episode] = self.at
        assert self.live is not None
        self.live.diverged(self.fork.episode)

    def put(self, node: Node, context: array[int]) -> Node:
        """The node at its place in the tree; looked for anew when a sibling has come."""
        tree = self.growth.tree
        siblings = len(tree.children(self.at))
        if self.placed[:2] != (node.origin.step, siblings):
            if self.ids is None:
                self.ids = self.asks.sequence(tree)
            placed = tree.place(self.at, node.agent, context, self.ids)
            self.placed = (node.origin.step, siblings, placed)
        return node.placed(self.at, self.placed[2])
