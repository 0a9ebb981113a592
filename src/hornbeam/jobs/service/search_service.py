"""Answers conversations with the outcomes of searches, many at once, on the engine of a run.

A search is that of `hornbeam search`: the same strategy, guides and choice grow and read its tree,
whose seed is that of its question. So equal questions are one search, whoever asks and whenever:
they wait for the same tree, a client that asks again goes on where it was stopped, and what was
searched is told from the store. Trees and costs are in the run folder under stages "serve ...".
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from hornbeam.assembly.tree_growth import StoreGrower
from hornbeam.chat import Message
from hornbeam.errors import HornbeamError
from hornbeam.grow.resumed import Before
from hornbeam.jobs.search.search_points import with_columns
from hornbeam.jobs.service.outcome import Outcome, outcome_of
from hornbeam.jobs.service.ready_searches import ReadySearch, ReadySearches
from hornbeam.jobs.service.served_names import names
from hornbeam.jobs.service.served_tasks import (
    IDENT,
    STAGE,
    ident_of,
    key_of,
    places_of,
    seed_of,
    task_of,
)
from hornbeam.recipe.recipe import Recipe
from hornbeam.store.database import TreeKey, canonical
from hornbeam.store.ledger import Entry
from hornbeam.tree.nodes import Tree
from hornbeam.tree.task import Task

WAITING = 256  # searches that may wait beside those that grow


class TooMany(HornbeamError):
    """More searches than may wait."""


class ServiceStopped(HornbeamError):
    """The service was closed while the search was under way."""


@dataclass(slots=True)
class _UnderWay:
    """A search that grows or waits, and how many clients wait for it."""

    growth: asyncio.Task[Outcome]
    clients: int = 0


class SearchService:
    """Searches by name. `grower` has the run's store and policies; it is not closed here.

    So many searches as `run.at_once` grow at a time, and `waiting` more may wait.
    """

    def __init__(self, recipe: Recipe, grower: StoreGrower, waiting: int = WAITING) -> None:
        self.recipe, self.grower, self.waiting = recipe, grower, waiting
        self.counts: Counter[str] = Counter()
        self.searches = ReadySearches(recipe, grower)
        self._room = asyncio.Semaphore(recipe.run.at_once)
        self._under_way: dict[TreeKey, _UnderWay] = {}
        self._closed = False

    async def open(self, *searches: str) -> None:
        """Make these searches ready, by default those of the sections.

        Raises `RecipeError`, `ModelError` and as guides do.
        """
        await self.grower.world.policies.load()
        for name in searches or self.recipe.serve:
            await self.searches.find(name)

    async def aclose(self) -> None:
        """Stop what is under way; what was grown stays."""
        self._closed = True
        growing = [each.growth for each in self._under_way.values()]
        for growth in growing:
            growth.cancel()
        await asyncio.gather(*growing, return_exceptions=True)
        await self.searches.aclose()

    def names(self) -> list[str]:
        """The names to show."""
        return names(self.recipe)

    def check_room(self, searches: int) -> None:
        """Raise `TooMany` where so many more cannot be taken now, `ServiceStopped` at the end."""
        if self._closed:
            raise ServiceStopped("the service stops: ask again when it is back")
        most = self.recipe.run.at_once + self.waiting
        if len(self._under_way) + searches > most:
            self.counts["searches/refused"] += searches
            raise TooMany(
                f"{len(self._under_way)} searches are under way, of at most {most}: ask again later"
            )

    async def check(
        self,
        name: str,
        messages: Sequence[Message],
        sampling: Mapping[str, Any] = {},
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Raise what `answer` would, as far as that is known beforehand."""
        ready = await self.searches.find(name)
        task_of(ready.search, self.recipe.program.name, messages, sampling, tools)

    async def answer(
        self,
        name: str,
        messages: Sequence[Message],
        sampling: Mapping[str, Any] = {},
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> Outcome:
        """The outcome of a search by this name on a conversation.

        `sampling` (max_tokens, stop) and `tools` are those of a bare model's answers. Who stops to
        wait for it stops it, unless others wait too. Raises `TooMany`, `RecipeError` for a
        conversation that the program cannot take, and as the search does.
        """
        ready = await self.searches.find(name)
        task = task_of(ready.search, self.recipe.program.name, messages, sampling, tools)
        key = key_of(ready.search, task)
        under_way = self._under_way.get(key)
        while under_way is not None and under_way.growth.cancelling():
            await asyncio.wait([under_way.growth])
            under_way = self._under_way.get(key)
        if under_way is None:
            under_way = self._begin(ready, key, task)
        else:
            self.counts["searches/joined"] += 1
        under_way.clients += 1
        try:
            return await asyncio.shield(under_way.growth)
        except asyncio.CancelledError:
            if self._closed and under_way.growth.cancelling():
                text = "the service stops: the search goes on when it is asked again"
                raise ServiceStopped(text) from None
            raise
        finally:
            under_way.clients -= 1
            if not under_way.clients and not under_way.growth.done():
                self.counts["searches/left"] += 1
                under_way.growth.cancel()

    def _begin(self, ready: ReadySearch, key: TreeKey, task: Task) -> _UnderWay:
        self.check_room(1)
        self.counts["searches"] += 1
        growth = asyncio.create_task(self._search(ready, key, task))
        growth.add_done_callback(lambda _: self._under_way.pop(key))
        self._under_way[key] = begun = _UnderWay(growth)
        return begun

    async def _search(self, ready: ReadySearch, key: TreeKey, task: Task) -> Outcome:
        async with self._room:
            tree = await self._grown(ready, key, task)
        entries = self._entries(key)
        (same,) = await self.searches.alike.of_trees([tree])
        return outcome_of(ready.search, tree, ident_of(key), entries, same)

    async def _grown(self, ready: ReadySearch, key: TreeKey, task: Task) -> Tree:
        """The tree, as it is stored where it is grown, else grown on from what is there."""
        store = self.grower.store
        stored = store.read(key) if key in store.keys(key.stage, key.step) else None
        if stored is not None and stored.done:
            self.counts["searches/known"] += 1
            return stored.tree
        seed = seed_of(self.recipe.run.seed, task)
        fresh = Tree(replace(task, id=ident_of(key)).to_json(), seed=seed)
        before = self._entries(key)
        ledger = self.grower.ledger(ready.search.job.method.budget, before)
        grower = replace(ready.grower, ledgers=lambda _: ledger)
        if stored is not None:
            grower = replace(grower, before=Before.of({key: stored}, before))
        with ExitStack() as sessions:
            for barrier in grower.barriers():
                sessions.enter_context(barrier.session())
            return await grower.grow(key, fresh if stored is None else stored)

    def _entries(self, key: TreeKey) -> list[Entry]:
        entries = self.grower.store.entries(key.stage, key.step)
        return [entry for entry in entries if entry.tree == str(key)]

    def tree(self, ident: str) -> Tree | None:
        """The tree of an id, as far as it is grown; None where there is none.

        With what its strategy makes of it, where that was asked for by this process.
        """
        if IDENT.fullmatch(ident) is None:
            return None
        step, number = places_of(int(ident, 16))
        store = self.grower.store
        keys = [key for key in store.keys(None, step) if key.number == number]
        found = next((key for key in keys if key.stage.startswith(STAGE)), None)
        if found is None:
            return None
        tree, ready = canonical(store.read(found).tree), self.searches.of_stage(found.stage)
        return tree if ready is None else with_columns(ready.search.job.strategy, tree)
