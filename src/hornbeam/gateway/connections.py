"""Connections to the endpoint, bounded: heads that never end, requests that are no HTTP, too many.

An agent's process can open what it likes. A connection has `HEAD` seconds to bring the head of a
request, idle ones between requests `IDLE`; where there are too many, the one that has waited
longest without a head is closed for the new one, so that who asks is heard.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD = 20.0  # seconds
IDLE = 75  # seconds; above the 5 s after which clients drop an idle connection themselves
FILES = 65_536  # open files that are asked for, where the system lets us
SHARE = 2  # of the open files that may be there, one in so many is a connection at most


def most_connections() -> int:
    """How many connections may be open; the limit of open files is raised before."""
    try:
        import resource
    except ImportError:  # no POSIX
        return FILES // SHARE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return (FILES if soft == resource.RLIM_INFINITY else soft) // SHARE


class Connections:
    """What the connections of one server share; `counts` of those that were ended."""

    def __init__(self, counts: Counter[str]) -> None:
        self.counts = counts
        self.most = most_connections()
        self.waiting: dict[BoundedConnection, None] = {}  # without the head of a request, in order

    def protocol(self, **given: Any) -> asyncio.Protocol:
        """A new connection, as uvicorn makes them."""
        return BoundedConnection(self, **given)


class BoundedConnection(H11Protocol):
    """One connection."""

    def __init__(self, shared: Connections, **given: Any) -> None:
        super().__init__(**given)
        self._shared = shared
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Open; closed again where there are too many."""
        super().connection_made(transport)
        self._wait()
        if len(self.connections) > self._shared.most:
            oldest = next(iter(self._shared.waiting))
            oldest._end("refused/connections")

    def connection_lost(self, exc: Exception | None) -> None:
        """Closed by either side."""
        self._heard()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A part of a request: of its head, or of a body that nobody waits for, only so long."""
        super().data_received(data)
        answered = self.cycle is not None and self.cycle.response_complete
        if self.conn.their_state is not h11.IDLE and not answered:
            self._heard()
        elif self._late is None:
            self._wait()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP is told so."""
        self._shared.counts["refused/no_http"] += 1
        super().send_400_response(msg)

    def _wait(self) -> None:
        self._shared.waiting[self] = None
        self._late = self.loop.call_later(HEAD, self._end, "refused/too_slow")

    def _heard(self) -> None:
        self._shared.waiting.pop(self, None)
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _end(self, why: str) -> None:
        self._shared.counts[why] += 1
        self._heard()
        self.transport.abort()
