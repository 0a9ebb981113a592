"""The worlds of the episodes of a growing tree: opened, forked, made anew, closed.

An episode's world is there from its first call on. Then it is as the path left it: restored from
the last snapshot on the path, and what was called since is called again. What such a call gives is
held against the record; another result is an error that names the call. A snapshot is taken when a
node is entered, if nothing beyond its calls was done by then and a fork may still begin there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hornbeam.arguments import short
from hornbeam.episode.reply import REFUSED
from hornbeam.episode.seams import Place
from hornbeam.errors import ProgramError, ToolError, WorldError
from hornbeam.protocols import Fork, Strategy
from hornbeam.store.ledger import Entry, Ledger, lost
from hornbeam.tree.facts import Call, Result
from hornbeam.tree.nodes import Node
from hornbeam.tree.task import Task
from hornbeam.workers.local_workers import LocalWorkers
from hornbeam.workers.outcomes import TookTooLong
from hornbeam.worlds import NoWorld, Snapshot, Snapshots
from hornbeam.worlds.fair_lock import FairLock, Ticket
from hornbeam.worlds.world_kind import WorldKind

T = TypeVar("T")


@dataclass(slots=True)
class EpisodeWorld:
    """The world of one episode. `made` counts the calls on it, those of its path included.

    `recorded` are those among them that nodes hold which are in the tree.
    """

    indices: list[int]  # of its path, node 0 first
    path: list[Node]  # one node more where the last is open
    made: int
    recorded: int
    resumed: bool
    lock: FairLock = field(default_factory=FairLock)
    world: Any = None
    opened: bool = False
    unsure: str = ""  # why nobody knows its state any more


class EpisodeWorlds:
    """The worlds of one tree. `may_fork` says of a node whether a fork can still begin there."""

    def __init__(
        self,
        snapshots: Snapshots | None,
        tools: LocalWorkers,
        tree: str,
        task: Task,
        ledger: Ledger,
        may_fork: Callable[[int], bool] | None,
    ) -> None:
        self._snapshots = Snapshots(NoWorld()) if snapshots is None else snapshots
        self._tools = tools
        self._tree, self._task, self._ledger = tree, task, ledger
        self._may_fork = may_fork
        self._here: dict[int, EpisodeWorld] = {}  # by episode
        self._source: dict[int, int] = {}  # node -> the node whose snapshot has its state
        self._wanted: dict[int, int] = {}  # node -> its source, where a fork may still begin
        self._coming: dict[int, int] = {}  # episode that has no world yet -> where it begins
        self._unwanted: set[int] = set()  # of snapshots, those that only such episodes read
        self._failed: dict[int, str] = {}  # node -> why it has no snapshot
        self._taking: dict[int, asyncio.Task[None]] = {}  # snapshots on their way, by node
        self._running: set[asyncio.Task[None]] = set()

    def acts(self, tool: str) -> bool:
        """Whether a tool acts on the world."""
        return tool in self._tools.worldly

    def _calls(self, node: Node) -> list[Call]:
        """The calls of a node that acted on the world."""
        if not node.calls:
            return []
        acted = (call for call in node.calls if call.tool in self._tools.worldly)
        return [call for call in acted if not call.error.startswith(REFUSED)]

    def begin(
        self, episode: int, indices: Sequence[int], path: Sequence[Node], resumed: bool
    ) -> None:
        """An episode begins at the end of a path; with an open node at its end it goes on."""
        made = [len(self._calls(node)) for node in path]
        closed = sum(n for n, node, _ in zip(made, path, indices) if node.finish)
        self._here[episode] = EpisodeWorld([*indices], [*path], sum(made), closed, resumed)

    # --- calls -------------------------------------------------------------------------------

    async def call(self, name: str, arguments: Mapping[str, Any], place: Place) -> Any:
        """The result of a tool that acts on the world of its episode, one call after the other.

        Raises `ToolError`, and `WorldError` where there is no such world.
        """
        here = self._here[place.episode]
        here.made += 1
        async with here.lock.take():
            world = await self._opened(place.episode, here)
            return await self._run(here, name, arguments, world)

    async def seen(self, episode: int, look: Callable[[WorldKind, Any], T]) -> T:
        """What `look` says of the kind of an episode's world, and of the world as it is now.

        Calls that were asked for before come first. Raises `WorldError` where there is none.
        """
        here, kind = self._here[episode], self._snapshots.kind
        async with here.lock.take():
            world = await self._opened(episode, here)
            if here.unsure:
                raise WorldError(here.unsure)
            run = _here if kind.quick(world) else _in_thread
            return await run("looked at", look, kind, world)

    async def _run(
        self, here: EpisodeWorld, name: str, arguments: Mapping[str, Any], world: Any
    ) -> Any:
        if here.unsure:
            raise WorldError(here.unsure)
        kind = self._snapshots.kind
        try:
            got = await self._tools.call(name, arguments, self._task, world=world)
        except TookTooLong as error:
            here.unsure = f"{error}, and may still change the world: nobody knows its state"
            raise
        except ToolError as error:
            raise ToolError(kind.portable(world, str(error))) from None
        if isinstance(got, Result):
            return Result(_plain(got.value, kind.portable, world), got.reward)
        return _plain(got, kind.portable, world)

    async def _opened(self, episode: int, here: EpisodeWorld) -> Any:
        """The episode's world, from its first call on."""
        if here.opened:
            return here.world
        began = time.perf_counter()
        await self._taken_by_now(here)
        try:
            found, rest = self._nearest(here)
            self._coming.pop(episode, None)
            here.world = await self._made(found)
            here.opened = True
            await self._again(here, rest)
        except WorldError as error:
            here.unsure = here.unsure or str(error)
            raise
        spent = {"world_seconds": time.perf_counter() - began}
        if rest:
            spent["world_calls_again"] = len(rest)
        self._enter(episode, spent, here.resumed)
        return here.world

    async def _taken_by_now(self, here: EpisodeWorld) -> None:
        """Wait for the last snapshot on the path, if it is being taken."""
        for node in reversed(here.indices):
            if node in self._taking:
                await asyncio.wait([self._taking[node]])
            if (id(self), node) in self._snapshots:
                return

    def _nearest(self, here: EpisodeWorld) -> tuple[Snapshot | None, list[Call]]:
        """The last snapshot on the path, and the calls on the world since then."""
        rest: list[Call] = []
        for k in reversed(range(len(here.path))):
            node = here.indices[k] if k < len(here.indices) else -1
            if node in self._failed and not rest:
                raise WorldError(self._failed[node])
            place = id(self), node
            if place in self._snapshots:
                return self._snapshots.take(place), rest
            rest = self._calls(here.path[k]) + rest
        return None, rest

    async def _made(self, found: Snapshot | None) -> Any:
        """A fresh world, or one as a snapshot has it. Whatever goes wrong is a `WorldError`."""
        kind = self._snapshots.kind
        if kind.light or (found is not None and isinstance(found.data, bytes)):
            return await self._make(found, _here)
        making = asyncio.ensure_future(self._make(found, _in_thread))
        try:
            return await asyncio.shield(making)
        except asyncio.CancelledError:
            self._start(self._given_up(making))
            raise

    async def _make(self, found: Snapshot | None, run: Callable[..., Awaitable[Any]]) -> Any:
        kind = self._snapshots.kind
        if found is None:
            return await run("opened", kind.open, self._task)
        try:
            return await run("forked", kind.restore, found.data, self._task)
        finally:
            self._snapshots.back(found)

    async def _given_up(self, making: asyncio.Future[Any]) -> None:
        """Close a world that nobody waits for any more, when it has been made."""
        with suppress(WorldError):
            await _in_thread("closed", self._snapshots.kind.close, await making)

    async def _again(self, here: EpisodeWorld, calls: Sequence[Call]) -> None:
        """Make calls of the path again. Raises `WorldError` where one gives another result."""
        for number, call in enumerate(calls, 1):
            value, error = None, ""
            try:
                got = await self._run(here, call.tool, call.arguments, here.world)
                value = got.value if isinstance(got, Result) else got
            except ToolError as failed:
                error = str(failed) or "ToolError"
            if (value, error) != (call.result, call.error):
                was = call.error or short(call.result)
                raise WorldError(
                    f"call {number} of {len(calls)} made again in a fresh world, {call.tool} with"
                    f" {short(dict(call.arguments))}, gave {error or short(value)}, the record has"
                    f" {was}: what it depends on is not in the world"
                )

    # --- snapshots ---------------------------------------------------------------------------

    def committed(self, episode: int, index: int, node: Node) -> None:
        """A node is in the tree: keep its world, if a fork may begin there."""
        here, calls = self._here[episode], len(self._calls(node))
        before, acted = here.indices[-1], bool(calls)
        here.recorded += calls
        if index:
            here.indices.append(index)
            here.path[len(here.indices) - 1 :] = [node]
        else:  # the task itself
            here.path[0] = node
        source = self._source[index] = index if acted else self._source.get(before, before)
        if not acted and before in self._failed:
            self._failed[index] = self._failed[before]
        if node.done or not self._forks(index):
            return
        self._wanted[index] = source
        if acted and self._snapshots.kind.fork == "snapshot":
            self._take(episode, here, index)

    def _forks(self, index: int) -> bool:
        return not index or self._may_fork is None or self._may_fork(index)

    def _take(self, episode: int, here: EpisodeWorld, index: int) -> None:
        """Take a snapshot, unless later calls are on their way already."""
        if not here.opened or here.unsure or here.made != here.recorded:
            return
        kind = self._snapshots.kind
        if here.lock.free and kind.quick(here.world):
            self._keep(episode, index, lambda: _made_of("copied", kind.snapshot, here.world))
            return
        ticket = here.lock.take()
        task = self._taking[index] = self._start(self._taken(ticket, episode, here, index))
        task.add_done_callback(lambda _: self._taking.pop(index))

    async def _taken(self, ticket: Ticket, episode: int, here: EpisodeWorld, index: int) -> None:
        async with ticket:
            began, kind = time.perf_counter(), self._snapshots.kind
            try:
                found = await _in_thread("copied", kind.snapshot, here.world)
            except WorldError as error:
                self._failed[index] = str(error)
                return
            self._put(episode, index, found, time.perf_counter() - began)

    def _keep(self, episode: int, index: int, take: Callable[[], Snapshot]) -> None:
        began = time.perf_counter()
        try:
            found = take()
        except WorldError as error:
            self._failed[index] = str(error)
            return
        self._put(episode, index, found, time.perf_counter() - began)

    def _put(self, episode: int, index: int, found: Snapshot, seconds: float) -> None:
        self._snapshots.put((id(self), index), found)
        self._enter(episode, {"world_bytes": found.size, "world_seconds": seconds})

    def asked(self, strategy: Strategy, forks: Sequence[Fork]) -> None:
        """The strategy has asked for these: drop what nobody can fork from any more."""
        self._coming |= {fork.episode: fork.node for fork in forks}
        if not forks or type(strategy).may_fork is Strategy.may_fork:
            return
        gone = [node for node in self._wanted if node and not self._forks(node)]
        sources = {self._wanted.pop(node) for node in gone} | self._unwanted
        begun = {self._source.get(node, node) for node in self._coming.values()}
        kept = begun.union(self._wanted.values())
        self._unwanted = sources & begun  # until they have begun
        for source in sources - kept:
            self._snapshots.drop((id(self), source))

    # --- the end -----------------------------------------------------------------------------

    def end(self, episode: int) -> None:
        """An episode runs no more: its world is closed."""
        self._coming.pop(episode, None)
        here = self._here.pop(episode, None)
        if here is None or not here.opened:
            return
        if here.lock.free and self._snapshots.kind.quick(here.world):
            self._snapshots.kind.close(here.world)
        else:
            self._start(self._closed(here, here.lock.take()))

    async def _closed(self, here: EpisodeWorld, ticket: Ticket) -> None:
        async with ticket:
            with suppress(WorldError):  # nobody misses it
                await _in_thread("closed", self._snapshots.kind.close, here.world)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def aclose(self) -> None:
        """Close all worlds, and drop what was kept of them."""
        for episode in list(self._here):
            self.end(episode)
        while self._running:
            await asyncio.gather(*self._running, return_exceptions=True)
        for node in self._source:
            self._snapshots.drop((id(self), node))

    def _enter(self, episode: int, spent: Mapping[str, float], resumed: bool = False) -> None:
        entries = [Entry(self._tree, episode, -1, kind, n) for kind, n in spent.items()]
        self._ledger.enter([lost(entry) for entry in entries] if resumed else entries)


def _plain(value: Any, portable: Callable[[Any, str], str], world: Any) -> Any:
    """A result with all its texts as every world of the same state says them."""
    if isinstance(value, str):
        return portable(world, value)
    if isinstance(value, list):
        return [_plain(each, portable, world) for each in value]
    if isinstance(value, dict):
        return {portable(world, k): _plain(each, portable, world) for k, each in value.items()}
    return value


def _made_of(how: str, work: Callable[..., T], *args: Any) -> T:
    """What work gives; whatever goes wrong is a `WorldError` of one line."""
    try:
        return work(*args)
    except ProgramError:
        raise
    except (Exception, SystemExit) as error:
        line = f"{type(error).__name__}: {error}".split("\n", 1)[0]
        raise WorldError(f"the world cannot be {how}: {line}") from error


async def _here(how: str, work: Callable[..., T], *args: Any) -> T:
    """The same, awaited."""
    return _made_of(how, work, *args)


async def _in_thread(how: str, work: Callable[..., T], *args: Any) -> T:
    """The same in a thread."""
    return await asyncio.to_thread(_made_of, how, work, *args)
