"""How many requests engines have at a time: the rows of their batches that are in use."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from hornbeam.engine.request import Completion, Request
from hornbeam.grow.speakers import Speaker


class RowMeter:
    """Requests in flight since `begin`."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock, self._now = clock, 0
        self.begin()

    def begin(self) -> None:
        """Measure from here."""
        self._began = self._since = self._clock()
        self._sum, self._most = 0.0, self._now

    def add(self, rows: int) -> None:
        """So many requests more, or less, are in flight."""
        now = self._clock()
        self._sum += self._now * (now - self._since)
        self._now, self._since = self._now + rows, now
        self._most = max(self._most, self._now)

    def empty(self) -> float:
        """Seconds since `begin` that rows stood empty: seconds x (1 - mean / most in flight)."""
        self.add(0)
        return self._since - self._began - self._sum / max(1, self._most)

    def metered(self, agents: Mapping[str, Speaker]) -> dict[str, Speaker]:
        """The agents, whose requests are counted."""
        return {
            name: replace(each, engine=MeteredEngine(each.engine, self))
            for name, each in agents.items()
        }


class MeteredEngine:
    """An engine whose requests in flight are counted; all else is its own."""

    def __init__(self, engine: Any, meter: RowMeter) -> None:
        self._engine, self._meter = engine, meter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def __repr__(self) -> str:
        return repr(self._engine)

    async def generate(self, request: Request) -> Completion:
        """As the engine does."""
        self._meter.add(1)
        try:
            done: Completion = await self._engine.generate(request)
            return done
        finally:
            self._meter.add(-1)
