"""What engines behind HTTP share: one server, probed once, its account, and how it all ends.

The weights are the server's own. Such an engine never moves on: it loads version 0 and no other.
"""

from __future__ import annotations

import asyncio
import re
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any, Generic, Protocol, TypeVar

from hornbeam.arguments import one_of
from hornbeam.chat import Chat, check_chat
from hornbeam.engine.closing import ClosedByWith
from hornbeam.engine.remote.http_client import HttpClient, HttpSettings, ServerUsage
from hornbeam.engine.remote.replies import ServerAnswer
from hornbeam.engine.request import Barrier, Completion, Request
from hornbeam.errors import EngineError, EngineLost, PromptTooLong

WINDOW = re.compile(r"(?:context (?:length|size|window)|n_ctx)\D{0,20}(\d+)", re.IGNORECASE)


class BrokenOff(EngineLost):
    """An answer that the server broke off: its weights are changed, or it ends."""


class Probed(Protocol):
    """What a probe found."""

    @property
    def context(self) -> int:
        """Tokens of the window; 0: not known."""
        ...


A = TypeVar("A", bound=Probed)


class ServerEngine(ClosedByWith, ABC, Generic[A]):
    """Speaks through a server. `say` is told what the probe found, and when one is waited for."""

    def __init__(
        self, settings: HttpSettings, chat: Chat, say: Callable[[str], None] = lambda line: None
    ) -> None:
        where = type(self).__name__
        self.settings = one_of(settings, HttpSettings, where, 'HttpSettings(url="http://...")')
        self.chat, self.say = check_chat(chat, where), say
        self.version = 0
        self.barrier = Barrier()
        self.client = HttpClient(settings, say)
        self.abilities: A | None = None
        self._opening: asyncio.Task[A] | None = None
        self._flying: set[asyncio.Task[Completion]] = set()
        self._context = settings.context
        self._closed = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {self.settings.root}>"

    @property
    def account(self) -> ServerUsage:
        """What was asked of the server so far."""
        return self.client.account

    @property
    def context(self) -> int | None:
        """How many tokens a prompt and its answer may have; None where that is not known."""
        return self._context or None

    @property
    def bill(self) -> dict[str, float]:
        """The account by its names, and `cost` by the settings' prices."""
        return {**asdict(self.account), "cost": self.account.cost(self.settings)}

    async def open(self) -> A:
        """What the server can do: asked once, told in a line. Raises `EngineError` if unfit."""
        if self.abilities is None:
            if self._opening is None or self._opening.done():
                self._opening = asyncio.create_task(self._able())
            self.abilities = await asyncio.shield(self._opening)
            self._context = self._context or self.abilities.context
        return self.abilities

    @abstractmethod
    async def _able(self) -> A:
        """What the server can do."""

    @abstractmethod
    async def _sample(self, request: Request) -> Completion:
        """One completion."""

    async def generate(self, request: Request) -> Completion:
        """Sample one completion. Raises `PromptTooLong`, and `EngineError` for the rest."""
        if self._closed:
            raise EngineError("the engine is closed: make a new one")
        if not len(request.prompt) or request.sampling.max_tokens < 1:
            raise EngineError("a request needs a prompt and max_tokens of at least 1")
        task = asyncio.ensure_future(self._sample(request))
        self._flying.add(task)
        task.add_done_callback(self._flying.discard)
        try:
            return await task
        except asyncio.CancelledError:
            me = asyncio.current_task()
            if self._closed and not (me and me.cancelling()):
                raise EngineError(
                    "the engine was closed while this request was in flight"
                ) from None
            raise

    def _room(self, size: int, most: int) -> int:
        """How many tokens may be sampled."""
        if self._context and size >= self._context:
            raise PromptTooLong(
                f"a prompt of {size} tokens leaves no room in the context of {self._context} of"
                f" {self.settings.root}: shorten it, or limit turns"
            )
        return min(most, self._context - size) if self._context else most

    def _enter(self, done: ServerAnswer, prompt: int, most: int) -> None:
        """Put an answer to a prompt of so many ids into the account; `most` was reserved.

        Raises `BrokenOff` where it is none.
        """
        held, size = self.account, done.prompt_tokens or prompt
        held.prompt_tokens += size
        held.cached_tokens += min(done.cached, size)
        held.sampled_tokens += done.sampled
        held.uncounted += done.prompt_tokens is None
        held.faulty += bool(done.fault)
        if done.fault and held.faulty == 1:
            self.say(
                f"{self.settings.root}: an answer with {done.fault}: left out; more of it is only"
                " counted"
            )
        self.client.tokens.give(most - size - done.sampled)
        if done.finish == "abort":
            raise BrokenOff(
                f"{self.settings.root}: an answer was aborted: another process changes the server's"
                " weights"
            )

    def cached(self, prompt: array[int]) -> int:
        """None: what a server keeps is not known beforehand."""
        return 0

    async def load(self, version: int) -> None:
        """Probe the server. Raises `EngineError` for a version other than 0: weights stay there."""
        if version != self.version:
            raise EngineError(
                f"{self.settings.root}: the weights are the server's own and cannot become version"
                f' {version}: to train, take [engine] kind = "local" or "vllm"'
            )
        await self.open()

    async def disconnect(self) -> None:
        """Close the connections of this event loop; what is asked later connects anew."""
        await self.client.aclose()

    async def aclose(self) -> None:
        """Fail what is in flight, which ends it at the server too, and close the connections."""
        if self.account.requests and not self._closed:
            self.say(f"{self.settings.root}: {self.account.describe(self.settings)}")
        self._closed = True
        opening = self._opening if self._opening and not self._opening.done() else None
        tasks = [*self._flying, *([opening] if opening else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.client.aclose()


def served(engines: Iterable[Any]) -> dict[str, dict[str, dict[str, float]]]:
    """Under "servers": by address, what was asked of each here and its cost; {} without any."""
    bills: dict[str, dict[str, float]] = {}
    for engine in {id(each): each for each in engines if isinstance(each, ServerEngine)}.values():
        bill = bills.setdefault(engine.settings.root, {})
        for kind, amount in engine.bill.items():
            bill[kind] = bill.get(kind, 0) + amount
    return {"servers": bills} if bills else {}
