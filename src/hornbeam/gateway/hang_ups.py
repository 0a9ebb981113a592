"""Clients that hang up: while they wait for an answer, or in the middle of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any

from hornbeam.gateway.session import Arrival


async def gone(receive: Callable[[], Awaitable[Mapping[str, Any]]]) -> None:
    """Until the client hangs up, by the `receive` of a request whose body has been read."""
    while (await receive())["type"] != "http.disconnect":
        pass


class Sending:
    """An answer on its way to a client. `ended` is called when it was sent, whole or not."""

    def __init__(self, arrival: Arrival | None) -> None:
        self._arrival, self._whole = arrival, True

    def events(self, events: Iterable[str]) -> Iterator[str]:
        """The same events; until the last one was sent the answer is not whole."""
        self._whole = False
        yield from events
        self._whole = True

    async def ended(self) -> None:
        """Say so to the session."""
        if self._arrival is not None:
            self._arrival.sent(self._whole)
