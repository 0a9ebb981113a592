"""One tree that grows: its episodes in flight, its opinions, its scores, its end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hornbeam.episode.driver import Driver
from hornbeam.episode.known_asks import KnownAsks
from hornbeam.errors import BudgetSpent
from hornbeam.grow.call_times import TimedEffects
from hornbeam.grow.effects import EpisodeEffects
from hornbeam.grow.episode_growth import EpisodeGrowth, columns_of, finished
from hornbeam.grow.episode_worlds import EpisodeWorlds
from hornbeam.grow.guide_costs import Read, guide_costs
from hornbeam.grow.state_check import check_state
from hornbeam.protocols import Fork, State
from hornbeam.search.strategy import restore
from hornbeam.store.keys import Stored, TreeKey
from hornbeam.tree.nodes import Tree
from hornbeam.tree.task import Task

if TYPE_CHECKING:
    from hornbeam.grow.grower import Grower


PAUSED = 32  # runs of one tree that are kept to be led on


class Growth:
    """One tree on its way."""

    def __init__(self, grower: Grower, key: TreeKey, start: Tree | Stored) -> None:
        self.grower, self.key = grower, key
        self.ledger = grower.ledger if grower.ledgers is None else grower.ledgers(key)
        self.tree = start if isinstance(start, Tree) else start.tree
        self.open = (
            {} if isinstance(start, Tree) else {node.origin.episode: node for node in start.open}
        )
        self.fresh = isinstance(start, Tree)
        self.task = Task.from_json(self.tree.task)
        self.state: State = restore(self.tree, grower.strategy.steps)
        self.barriers = grower.barriers()
        self.asks = KnownAsks()
        self.paused: dict[int, Driver] = {}  # runs by the node that they stand behind
        self.running: dict[asyncio.Task[None], int] = {}  # episodes
        self.spent: BudgetSpent | None = None
        self.ended: asyncio.Queue[asyncio.Task[None]] = asyncio.Queue()
        self.recorder: int | None = None  # the episode that runs what comes before the first ask
        self.ready = asyncio.Event()  # that is in node 0
        if self.tree.nodes[0].finish:
            self.ready.set()
        guides = [guide for guide in grower.guides if getattr(guide, "reads_ids", False)]
        self.read = {guide.column: Read.of(self.tree, guide) for guide in guides}

    def live(self) -> EpisodeEffects:
        """The world outside this tree."""
        grower = self.grower
        kind = EpisodeEffects if grower.grown is None else TimedEffects
        return kind(
            str(self.key),
            self.key,
            self.tree.seed,
            self.task,
            grower.agents,
            grower.tools,
            self.ledger,
            self.barriers,
            grower.before,
            self._worlds(),
            grower.states,
        )

    def _worlds(self) -> EpisodeWorlds | None:
        """What the tools of its episodes act on, if one does."""
        grower = self.grower
        if not grower.tools.worldly:
            return None

        def may_fork(node: int) -> bool:
            return grower.strategy.may_fork(self.tree, self.state, node)

        where = grower.worlds, grower.tools, str(self.key), self.task, self.ledger
        return EpisodeWorlds(*where, may_fork)

    async def run(self, live: EpisodeEffects) -> Tree:
        """Ask, grow, tell, until the strategy asks for nothing more and nothing is out.

        Once a budget is spent nothing is asked any more, and what is in flight is awaited.
        """
        if self.fresh and self.grower.keeper is not None:
            self.grower.keeper.begin(self.key, self.tree)
        try:
            await self.judge_finished(live)
            for fork in self._left():
                self._start(fork, live, resumed=True)
            while True:
                if self.spent is None:
                    self._ask(live)
                if not self.running:
                    break
                await self._receive(live)
        finally:
            await self._cancel(live)
            for driver in self.paused.values():
                driver.drop()
            if live.worlds is not None:
                await live.worlds.aclose()
            for guide in self.grower.guides:
                guide.forget(self.tree)
        if self.spent is not None and self.grower.ledgers is None:
            raise self.spent
        live.over()
        grown = self.end()
        if self.grower.grown is not None and isinstance(live, TimedEffects):
            self.grower.grown(self.key, grown, live.made)
        return grown

    def _ask(self, live: EpisodeEffects) -> None:
        """Start what the strategy wants, and stop what it wants no longer."""
        strategy, most = self.grower.strategy, self.grower.episodes
        room = None if most is None else max(0, most - len(self.running))
        forks = strategy.ask(self.tree, self.state)[:room]
        for fork in forks:
            self.state.asked[fork.episode] = fork.node
            self._start(fork, live)
        if live.worlds is not None:
            live.worlds.asked(strategy, forks)
        unwanted = strategy.drops(self.tree, self.state)
        if unwanted:
            for task, episode in self.running.items():
                if episode in unwanted:
                    task.cancel()

    async def _receive(self, live: EpisodeEffects) -> None:
        """Wait until episodes end, and take over the busy entry of one of them."""
        live.leave()
        try:
            done = [await self.ended.get()]
        except asyncio.CancelledError:
            live.enter()
            raise
        while not self.ended.empty():
            done.append(self.ended.get_nowait())
            live.leave()
        for episode in done:
            del self.running[episode]
            error = None if episode.cancelled() else episode.exception()
            if isinstance(error, BudgetSpent):
                self.spent = error
            elif error is not None:
                raise error

    async def _cancel(self, live: EpisodeEffects) -> None:
        """Stop what still runs and wait until it has stopped."""
        for episode in self.running:
            episode.cancel()
            episode.add_done_callback(lambda _: live.leave())
        await asyncio.gather(*self.running, return_exceptions=True)

    def _left(self) -> list[Fork]:
        """Episodes that were left half-grown: each goes on from its last node to where it stops."""
        last = {node.origin.episode: i for i, node in enumerate(self.tree.nodes) if i}
        for node in self.open.values():
            last.setdefault(node.origin.episode, node.parent)
            self.state.asked.setdefault(node.origin.episode, node.parent)
        results, steps = self.state.results, self.grower.strategy.steps
        forks = []
        for episode, at in sorted(last.items()):
            if episode not in results:
                node = self.tree.nodes[at]
                grown = node.origin.step + 1 if at and node.origin.episode == episode else 0
                forks.append(Fork(episode, at, None if steps is None else steps - grown))
        return forks

    def _start(self, fork: Fork, live: EpisodeEffects, resumed: bool = False) -> None:
        live.enter()
        episode = asyncio.create_task(self._episode(fork, live, resumed))
        self.running[episode] = fork.episode
        episode.add_done_callback(self.ended.put_nowait)

    async def _episode(self, fork: Fork, live: EpisodeEffects, resumed: bool) -> None:
        """Grow one episode, judge what it grew, score where it ended, tell."""
        if not self.ready.is_set():
            if self.recorder is not None:
                await self.ready.wait()
            self.recorder = fork.episode
        branch = EpisodeGrowth(self, fork)
        first = not self.fresh and fork.episode == 0  # made the calls that node 0 holds
        live.replayed(fork.episode, branch.path, resumed or first)
        if live.worlds is not None:
            live.worlds.begin(fork.episode, branch.indices, branch.path, resumed or first)
        try:
            if fork.node and not resumed:
                await check_state(self.grower.tools, self.task, branch.path)
            driver = branch.driver(live, self.paused.pop(fork.node, None))
            ended = await driver.run()
            if driver.paused:
                self._pause(branch.at, driver)
        finally:
            live.ended(fork.episode)
        live.over(fork.episode)
        await self._judge(branch.grown, live)
        if ended:
            await self._score(branch.at)
        self.state.results[fork.episode] = branch.at

    def _pause(self, node: int, driver: Driver) -> None:
        """Keep a run that stands behind a node: the next fork there leads it on."""
        if node in self.paused:
            self.paused.pop(node).drop()
        self.paused[node] = driver
        if len(self.paused) > PAUSED:
            self.paused.pop(next(iter(self.paused))).drop()

    async def _judge(self, grown: Sequence[int], live: EpisodeEffects) -> None:
        """The guides' opinions of new nodes; the episode is not busy while it waits for them."""
        if not grown:
            return
        for guide in self.grower.guides:
            most, read = guide.most(self.tree, grown), self.read.get(guide.column)
            if read is not None and not self.fresh:
                most = min(most, read.new([self.tree.sequence(i) for i in grown]))
            ids = read is not None  # a call counts though all was kept: that is timing
            with self.ledger.reserve(tokens=most, calls=ids or most > 0) as room:
                live.leave()
                try:
                    said = await guide.judge(self.tree, grown)
                finally:
                    live.enter()
                paid = guide_costs(str(self.key), self.tree, grown, said, read, self.fresh)
                if most or (ids and any(value is not None for value in said.values)):
                    room.settle([paid[0]._replace(kind="scorer_calls", amount=1), *paid])
            column = self.tree.column(guide.column)
            for i, value in zip(grown, said.values, strict=True):
                column[i] = value
                if value is not None and self.grower.keeper is not None:
                    self.grower.keeper.opinion(self.key, self.tree.nodes[i], guide.column, value)

    async def _score(self, leaf: int) -> None:
        scorer = self.grower.scorer
        if scorer is None or self.tree.nodes[leaf].error:
            return
        (said,) = await columns_of(scorer, self.tree, [leaf])
        for name, value in said.items():
            self.tree.column(name)[leaf] = value

    async def judge_finished(self, live: EpisodeEffects) -> None:
        """What a tree that was left half-grown lacks: opinions of its steps, outcomes of leaves."""
        if not self.state.results:
            return
        columns = [self.tree.column(guide.column) for guide in self.grower.guides]
        results: dict[int, list[int]] = {}
        for i, node in enumerate(self.tree.nodes):
            if (
                i
                and node.origin.episode in self.state.results
                and any(c[i] is None for c in columns)
            ):
                results.setdefault(node.origin.episode, []).append(i)
        for nodes in results.values():
            await self._judge(nodes, live)
        for leaf in self.state.results.values():
            if self.tree.nodes[leaf].done:
                await self._score(leaf)

    def end(self) -> Tree:
        """The tree in canonical order, kept."""
        keeper, grown = self.grower.keeper, finished(self.tree)
        if self.grower.scorer is not None:
            grown.column(self.grower.scorer.column)
        if keeper is not None:
            if grown is not self.tree:
                for i, node in enumerate(grown.nodes):
                    keeper.write(self.key, grown, i, node)
            keeper.columns(self.key, grown.columns)
            keeper.done(self.key)
        if self.grower.ended is not None:
            self.grower.ended()
        return grown
