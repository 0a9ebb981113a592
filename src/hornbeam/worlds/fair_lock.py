"""First come, first served: who acts on a world comes in the order in which it was asked to."""

from __future__ import annotations

import asyncio


class Ticket:
    """One who waits until those before have left. As an async context manager: its time there."""

    __slots__ = ("_before", "_mine")

    def __init__(self, before: asyncio.Future[None] | None) -> None:
        self._before = before
        self._mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def left(self) -> asyncio.Future[None]:
        """Done when the next may come."""
        return self._mine

    @property
    def waits(self) -> bool:
        """Whether somebody is before it."""
        return self._before is not None and not self._before.done()

    async def __aenter__(self) -> None:
        if self._before is None or self._before.done():
            return
        try:
            await asyncio.wait([self._before])
        except asyncio.CancelledError:
            self._before.add_done_callback(lambda _: self._leave())
            raise

    async def __aexit__(self, *raised: object) -> None:
        self._leave()

    def _leave(self) -> None:
        if not self._mine.done():
            self._mine.set_result(None)


class FairLock:
    """Who waits, in order."""

    def __init__(self) -> None:
        self._last: asyncio.Future[None] | None = None

    def take(self) -> Ticket:
        """The next turn, from now on."""
        turn = Ticket(self._last)
        self._last = turn.left
        return turn

    @property
    def free(self) -> bool:
        """Whether nobody is there or waits."""
        return self._last is None or self._last.done()
