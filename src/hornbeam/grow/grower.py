"""Grows trees: a strategy says where, programs act, a scorer scores, the strategy is told.

The only writer of trees. Many episodes of many trees are in flight at once; what each samples
depends on its seeds and its path, never on order. A grown tree is brought into canonical order.

An episode that fails (its program raises, a tool hangs) ends in a failed leaf: `done`, its error
kept, no reward. A spent budget is no failure: it stops growth and leaves trees half-grown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field

from hornbeam.engine.request import Barrier
from hornbeam.episode.program import Limits
from hornbeam.grow.call_times import Grown
from hornbeam.grow.effects import Speaker
from hornbeam.grow.growing_tree import Growth
from hornbeam.grow.resumed import Before
from hornbeam.grow.step_states import StepStates
from hornbeam.protocols import Guide, Keeper, Program, Scorer, Strategy
from hornbeam.store.keys import Stored, TreeKey
from hornbeam.store.ledger import Ledger
from hornbeam.tree.nodes import Tree
from hornbeam.workers.local_workers import LocalWorkers
from hornbeam.worlds import Snapshots

Room = Callable[[TreeKey], AbstractAsyncContextManager[None]]


@dataclass(slots=True)
class Grower:
    """All that growth needs. `grow` grows one tree, `grow_all` many at once.

    `agents` says who speaks under which name. Without `scorer` no leaf is scored. Every `guide`
    judges each node that an episode grew before the strategy hears of it. With `ledgers` every tree
    has one of its own, whose budget ends the growth of that tree and is no error. `episodes` is how
    many episodes of one tree may be in flight: one by one, a budget goes into whole answers first.
    `before` is what had been run for trees of this phase before a stop: its cost is told apart.
    `ended` hears of every tree that is grown, `grown` of it too, with the calls made meanwhile.
    `worlds` is what is kept of the worlds that tools act on, where they do. `states` tells in which
    state each step was taken, where nodes are to say it. A tree of `grow_all` grows inside `room`,
    which says when it may begin.
    """

    program: Program
    agents: Mapping[str, Speaker]
    strategy: Strategy
    scorer: Scorer | None = None
    tools: LocalWorkers = field(default_factory=lambda: LocalWorkers({}))
    ledger: Ledger = field(default_factory=Ledger)
    limits: Limits = field(default_factory=Limits)
    keeper: Keeper | None = None
    guides: Sequence[Guide] = ()
    ledgers: Callable[[TreeKey], Ledger] | None = None
    episodes: int | None = None
    before: Before | None = None
    ended: Callable[[], None] | None = None
    grown: Grown | None = None
    worlds: Snapshots | None = None
    states: StepStates | None = None
    room: Room | None = None

    async def grow(self, key: TreeKey, start: Tree | Stored) -> Tree:
        """Grow one tree to its end and return it in canonical order.

        `start` is a fresh tree, or one left half-grown. Raises `BudgetSpent` and what the engine
        or the store cannot recover from; what was grown by then is kept.
        """
        growth = Growth(self, key, start)
        live = growth.live()
        live.enter()
        try:
            return await growth.run(live)
        finally:
            live.leave()

    async def grow_all(
        self, starts: Iterable[tuple[TreeKey, Tree | Stored]], at_once: int = 64
    ) -> list[Tree]:
        """Grow trees, at most `at_once` of them in flight; returned in the order given.

        The first error stops all.
        """
        waiting = iter(list(enumerate(starts)))
        grown: dict[int, Tree] = {}

        async def work() -> None:
            for number, (key, start) in waiting:
                async with self.room(key) if self.room else nullcontext():
                    grown[number] = await self.grow(key, start)

        try:
            with ExitStack() as sessions:
                for barrier in self.barriers():
                    sessions.enter_context(barrier.session())
                async with asyncio.TaskGroup() as group:
                    with ExitStack() as busy:
                        for barrier in self.barriers():
                            busy.enter_context(barrier.busy())
                        for _ in range(at_once):
                            group.create_task(work())
                        await asyncio.sleep(0)
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return [grown[number] for number in sorted(grown)]

    def barriers(self) -> tuple[Barrier, ...]:
        """The barriers of all engines and guides, each once."""
        found = [speaker.engine.barrier for speaker in self.agents.values()]
        found += [guide.barrier for guide in self.guides]
        return tuple({id(barrier): barrier for barrier in found}.values())
