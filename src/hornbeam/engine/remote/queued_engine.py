"""Engines in other processes: requests go to a queue, answers come back from it.

A `QueuedEngine` stands for a policy that is trained elsewhere. The `QueueWorker` of a process
carries what its queued engines ask, and lets its own engine answer what others ask of it, as long
as it is told to serve and with weights that have learned enough. It looks often while there is
news, then seldom.
"""

from __future__ import annotations

import asyncio
import json
from array import array
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from functools import partial
from typing import Any

from hornbeam.chat import Chat
from hornbeam.engine.request import Barrier, Completion, Request, Sampling
from hornbeam.errors import EngineError, EngineLost, HornbeamError, ModelError, PromptTooLong
from hornbeam.protocols import Engine
from hornbeam.store.request_queue import RequestKey, RequestQueue
from hornbeam.tree.nodes import floats, ids

SOONEST, LATEST = 0.004, 0.25  # seconds between two looks
# An engine that is lost answers nobody: who holds it stops, and answers when started again.
ERRORS = {kind.__name__: kind for kind in (PromptTooLong, EngineError, ModelError)}


class QueuedEngine:
    """A policy that another process trains, as an `Engine`."""

    def __init__(self, policy: str, chat: Chat, worker: QueueWorker) -> None:
        self.policy, self.chat, self.version = policy, chat, 0
        self.barrier = Barrier()
        self._worker = worker

    async def generate(self, request: Request) -> Completion:
        """What the other process answers. Raises as its engine does."""
        return await self._worker.ask(self.policy, request)

    def cached(self, prompt: array[int]) -> int:
        """None that are known of here."""
        return 0

    async def load(self, version: int) -> None:
        """The other process loads its weights itself."""

    async def aclose(self) -> None:
        """Nothing is held."""


class QueueWorker:
    """Asks and answers of one process. `need` tells how much an ask's policy must have learned."""

    def __init__(self, queue: RequestQueue, need: Callable[[str, int], int]) -> None:
        self._queue, self._need = queue, need
        self._out: dict[RequestKey, asyncio.Future[Completion]] = {}  # asked, not answered
        self._in: dict[RequestKey, asyncio.Task[None]] = {}  # being answered
        self._serves: tuple[Engine, int] | None = None  # with what was learned
        self._news = asyncio.Event()
        self._lost: EngineLost | None = None

    @property
    def waits(self) -> int:
        """How many answers are waited for."""
        return len(self._out)

    async def ask(self, policy: str, request: Request) -> Completion:
        """The answer of a policy to a request of a tree's episode."""
        which = RequestKey(*request.order)
        data = {
            "prompt": list(request.prompt),
            "sampling": asdict(request.sampling),
            "seed": request.seed,
        }
        self._queue.ask(which, policy, self._need(which.stage, which.step), data)
        future: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self._out[which] = future
        self._news.set()
        try:
            return await future
        finally:
            self._out.pop(which, None)

    @asynccontextmanager
    async def serving(self, engine: Engine, learned: int) -> AsyncIterator[None]:
        """Answer with this engine for the length of a block; at its end nothing is in flight."""
        self._serves = engine, learned
        self._news.set()
        try:
            with engine.barrier.session():
                try:
                    yield
                finally:
                    self._serves = None
                    await asyncio.gather(*self._in.values(), return_exceptions=True)
        finally:
            self._serves = None

    async def work(self) -> None:
        """Carry asks and answers until cancelled. Raises `EngineLost` where one's own engine is."""
        pause = SOONEST
        try:
            while self._lost is None:
                news = self._news.is_set()
                self._news.clear()
                moved = self._receive() + self._begin()
                pause = SOONEST if moved or news else min(2 * pause, LATEST)
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):  # wait_for may swallow a cancel (3.11)
                        await self._news.wait()
            raise self._lost
        finally:
            for task in list(self._in.values()):
                task.cancel()
            await asyncio.gather(*self._in.values(), return_exceptions=True)

    def _receive(self) -> int:
        """Take over answers that have come."""
        heard = 0
        for which in self._queue.answered() if self._out else ():
            future = self._out.get(which)
            stored = self._queue.data(which) if future is not None and not future.done() else None
            if future is None or stored is None or stored[1] is None:
                continue
            heard += 1
            with self._queue.store.reading("an answer of another trainer"):
                answer = json.loads(stored[1])
                if "error" in answer:
                    future.set_exception(ERRORS[answer["error"]](answer["text"]))
                else:
                    answer["tokens"] = ids(answer["tokens"])
                    answer["logprobs"] = floats(answer["logprobs"])
                    future.set_result(Completion(**answer))
        return heard

    def _begin(self) -> int:
        """Begin to answer what may be answered now."""
        if self._serves is None:
            return 0
        engine, learned = self._serves
        begun = 0
        for which in self._queue.wanted(learned):
            stored = self._queue.data(which) if which not in self._in else None
            if stored is not None and stored[1] is None:
                task = asyncio.create_task(self._answer(engine, which, stored[0]))
                self._in[which] = task
                task.add_done_callback(partial(self._ended, which))
                begun += 1
        return begun

    def _ended(self, which: RequestKey, task: asyncio.Task[None]) -> None:
        del self._in[which]
        self._news.set()  # who has an answer soon asks again
        if not task.cancelled():
            task.exception()  # the store's: the worker's next look meets it too

    async def _answer(self, engine: Engine, which: RequestKey, data: str) -> None:
        answer: dict[str, Any]
        try:
            with self._queue.store.reading("what another trainer asks"):
                asked = json.loads(data)
                how = asked["sampling"]
                sampling = Sampling(**{**how, "stop": tuple(how["stop"])})
                request = Request(ids(asked["prompt"]), sampling, asked["seed"], tuple(which))
            done = await engine.generate(request)
        except EngineLost as error:
            self._lost = error
            self._news.set()
            return
        except HornbeamError as error:
            name = type(error).__name__
            answer = {"error": name if name in ERRORS else "EngineError", "text": str(error)}
        else:
            fields = Completion.__dataclass_fields__
            answer = {name: getattr(done, name) for name in fields}
            answer = {k: list(v) if isinstance(v, array) else v for k, v in answer.items()}
        self._queue.answer(which, data, answer)
