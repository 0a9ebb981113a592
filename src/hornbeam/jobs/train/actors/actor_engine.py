"""An engine in an actor, whose weights change while requests come."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Awaitable, Mapping
from typing import Any

from hornbeam.engine.request import Completion, Request
from hornbeam.protocols import Engine
from hornbeam.train import weights


class ActorEngine:
    """An engine whose weights may change while requests come: they wait while it loads."""

    def __init__(self, engine: Engine, model: Any) -> None:
        self.engine, self.model, self.sent = engine, model, 0
        self.chat, self.barrier, self.version = engine.chat, engine.barrier, engine.version
        self._flying = 0
        self._open, self._idle = asyncio.Event(), asyncio.Event()
        self._open.set()
        self._idle.set()
        self._loading = asyncio.Lock()

    async def generate(self, request: Request) -> Completion:
        """Sample one completion, by weights that do not change meanwhile."""
        while not self._open.is_set():
            await self._open.wait()
        self._flying += 1
        self._idle.clear()
        try:
            return await self.engine.generate(request)
        finally:
            self._flying -= 1
            if not self._flying:
                self._idle.set()

    @property
    def context(self) -> int | None:
        """How many tokens a prompt and its answer may have; None where that is not known."""
        return getattr(self.engine, "context", None)

    def cached(self, prompt: array[int]) -> int:
        """How many of the prompt's first tokens need not be computed."""
        return self.engine.cached(prompt)

    async def take(
        self, sent: int, version: int, coming: Awaitable[Mapping[str, Any]] | None
    ) -> None:
        """Speak with the weights of a sending, unless those of a later one speak already."""
        async with self._loading:
            if sent <= self.sent:
                return
            fresh = not self.sent or version != self.version
            values = await coming if fresh and coming is not None else None
            self._open.clear()
            try:
                await self._idle.wait()
                if values is not None:
                    weights.take(self.model, values)
                await self.engine.load(version)
                self.sent, self.version = sent, version
            finally:
                self._open.set()

    async def load(self, version: int) -> None:
        """Forget what was computed and speak as this version."""
        await self.take(self.sent + 1, version, None)

    async def aclose(self) -> None:
        """Give back what is held."""
        await self.engine.aclose()
