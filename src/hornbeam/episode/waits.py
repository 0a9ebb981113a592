"""What a driver waits for: effects that run at once, and events of the world outside.

An event is no fact and not recorded: a request that comes in, say. It is awaited on the real event
loop while the program waits on its own. Whoever replays a program that hears of events sees to it
that the same comes again (gateway).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import Any, TypeVar

from hornbeam.episode.record import Effect
from hornbeam.episode.replay import ReplayLoop
from hornbeam.episode.seams import Live, Place
from hornbeam.errors import ProgramError, ToolError

T = TypeVar("T")


class Waits:
    """The effects and events that one program waits for; who is busy meanwhile is told to `live`.

    Every running effect has an entry of its own there, and the driver has one.
    """

    def __init__(self, loop: ReplayLoop, live: Live) -> None:
        self._loop, self._live = loop, live
        self._awaited: Effect | None = None  # which the driver waits for, not busy meanwhile
        self.heard = False  # whether the program waited for an event, ever
        self._new: list[tuple[Coroutine[Any, Any, Any], asyncio.Future[Any]]] = []
        self._events: dict[asyncio.Task[Any], asyncio.Future[Any]] = {}

    def outside(self) -> bool:
        """Whether the program waits for an event."""
        return bool(self._new or self._events)

    def add(self, event: Coroutine[Any, Any, T]) -> asyncio.Future[T]:
        """A future of the program's loop for what the event brings."""
        future: asyncio.Future[T] = self._loop.create_future()
        self.heard = True
        self._new.append((event, future))
        return future

    def run(self, effect: Effect, performed: Coroutine[Any, Any, Any]) -> None:
        """Run an effect beside others."""
        self._live.enter()
        effect.running = asyncio.ensure_future(performed)
        effect.running.add_done_callback(partial(self._done, effect))

    def _done(self, effect: Effect, running: asyncio.Task[Any]) -> None:
        """An effect is done: its entry becomes the driver's if that waits for it."""
        if self._awaited is effect:
            self._awaited = None
        else:
            self._live.leave()

    async def call(self, effect: Effect, place: Place) -> Any:
        """What a call comes to, which may be the error of its tool."""
        try:
            if effect.run is None:
                return await self._live.tool(effect.name, effect.payload, place, effect.refused)
            self._live.leave()
            try:
                return await effect.run()
            finally:
                self._live.enter()
        except ToolError as error:
            return error

    async def effect(self, effect: Effect, running: asyncio.Task[Any]) -> bool:
        """Wait for an effect, or an event; whether there was one, which the program has now."""
        self._awaited = effect
        self._live.leave()
        try:
            await self._first(running)
        finally:
            if self._awaited is not None:  # cancelled, or woken, before the effect was done
                self._awaited = None
                self._live.enter()
        return self._tell()

    async def event(self) -> None:
        """Wait for an event and give it to the program. `ProgramError` where it awaits none."""
        if not self.outside():
            raise ProgramError("it waits for something that is neither ep.ask nor ep.call")
        self._live.leave()
        try:
            await self._first()
        finally:
            self._live.enter()
        self._tell()

    async def _first(self, *others: asyncio.Task[Any]) -> None:
        for event, future in self._new:
            self._events[asyncio.ensure_future(event)] = future
        self._new = []
        await asyncio.wait([*others, *self._events], return_when=asyncio.FIRST_COMPLETED)

    def _tell(self) -> bool:
        """Give the program what events brought; whether there was any."""
        done = [task for task in self._events if task.done()]
        for task in done:
            future = self._events.pop(task)
            if future.cancelled():
                if not task.cancelled():
                    task.exception()
            elif task.cancelled():
                future.cancel()
            elif (error := task.exception()) is not None:
                future.set_exception(error)
            else:
                future.set_result(task.result())
        return bool(done)

    def drop(self) -> None:
        """Nobody waits for events any more."""
        for event, _ in self._new:
            event.close()
        for task in self._events:
            if not task.cancel() and not task.cancelled():
                task.exception()
        self._new, self._events = [], {}
