"""One session: the requests of one run of an agent, each answered once.

The server brings requests (`submit`) and waits for their answers; the episode hears of each new one
(`next`) and answers it. A client that asks again for what it did not hear, gets the same answer:
an equal request joins the one before where its sender counts it as a retry, or where nobody is left
to hear the answer (clients hang up at a time-out, and some count from 0 again). Another equal
request is a new ask, and so is one behind an error of the engine.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from hornbeam.chat import Message
from hornbeam.episode.record import Digests, digest
from hornbeam.gateway.answered import HttpAnswer
from hornbeam.gateway.asked import Asked, BadRequest, ReadRequest

WAITING = 256  # requests of one session that may be there at a time
HELD = 64 * 2**20  # bytes of their bodies
HOST = "127.0.0.1"
LOOPBACK = (HOST, "localhost", "::1")  # addresses that only this machine reaches
REFUSED = 1000  # of its requests; then the session ends, as nothing good comes of it


@dataclass(slots=True, eq=False)
class Arrival:
    """A request on its way. `key` is equal for equal asks.

    `told`: of one that is asked again after a stop, how many answers had been told before it.
    """

    agent: str
    asked: Asked
    key: str
    answer: asyncio.Future[Sequence[HttpAnswer]]
    waiting: int = 0  # requests that wait for it
    delivered: bool = False
    told: int | None = None

    def failed(self) -> bool:
        """Whether the engine failed of it: who asks again wants another answer."""
        done = self.answer.done() and not self.answer.cancelled()
        error = self.answer.exception() if done else None
        return isinstance(error, BadRequest) and error.status >= 500

    def sent(self, whole: bool) -> None:
        """One of those who waited was sent the answer, or hung up meanwhile."""
        self.waiting -= 1
        self.delivered = self.delivered or whole

    def lost(self) -> bool:
        """Whether nobody heard its answer, and nobody waits for it."""
        return not (self.waiting or self.delivered or self.failed())


@dataclass(frozen=True, slots=True)
class Ended:
    """The agent's process is over: what it answered, or why it failed."""

    answer: object = None
    error: str = ""
    reward: float | None = None


def key_of(agent: str, asked: Asked) -> str:
    """A digest that is equal for equal asks."""
    return digest([agent, list(asked.messages), list(asked.tools), asked.n, asked.sampling])


class Keys:
    """`key_of` of the asks of one session; what an ask shares with its agent's last is kept."""

    def __init__(self) -> None:
        self._of: dict[str, Digests] = {}
        self._tools: Sequence[Mapping[str, Any]] = ()
        self._written = "[]"

    def of(self, agent: str, asked: Asked) -> str:
        """The key of an ask."""
        if agent not in self._of:
            self._of[agent] = Digests(f"[{json.dumps(agent)}, [")
        if asked.tools is not self._tools:
            self._tools, self._written = asked.tools, _sorted(list(asked.tools))
        tail = f"], {self._written}, {asked.n}, {_sorted(asked.sampling)}]"
        return self._of[agent].with_tail(asked.messages, tail)


_sorted = json.JSONEncoder(sort_keys=True).encode


def client_of(headers: Mapping[str, str]) -> str:
    """Who sends a request, by the first word of its `user-agent`: "agents", "pydantic_ai".

    OpenAI's and Anthropic's own clients are "openai" and "anthropic", with or without a loop.
    """
    product = headers.get("user-agent", "").partition("/")[0].lower().removeprefix("async")
    return re.sub(r"[^a-z0-9]+", "_", product).strip("_")[:40]


class Quiet:
    """Nothing came for a while."""


QUIET = Quiet()


@dataclass(eq=False)
class AgentSession:
    """`token` is the secret in its address; `counts` what was seen, for metrics."""

    agents: tuple[str, ...] = ()  # whom it may ask, the main one first
    client: str = ""  # who asks, by its own name
    token: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    counts: Counter[str] = field(default_factory=Counter)
    over: BadRequest | None = None  # what who asks is told since it is over
    # What each response that was sent ends a conversation of, for who sends no history.
    responses: dict[str, tuple[Message, ...]] = field(default_factory=dict)
    _new: asyncio.Queue[Arrival | Ended] = field(default_factory=asyncio.Queue)
    _latest: dict[str, Arrival] = field(default_factory=dict)
    read: ReadRequest = field(default_factory=ReadRequest)
    _keys: Keys = field(default_factory=Keys)
    _refusals: int = 0
    _unanswered: Counter[str] = field(default_factory=Counter)  # why, since it was asked last
    _waiting: int = 0  # requests that are there
    _held: int = 0  # bytes of their bodies
    _heard: float = field(default_factory=time.monotonic)

    @property
    def idle(self) -> float:
        """Seconds since it was heard of, 0 while a request is there."""
        return 0.0 if self._waiting else time.monotonic() - self._heard

    def environment(self, root: str) -> dict[str, str]:
        """What an agent finds in its environment; `root` is the address of its session."""
        return {
            "OPENAI_BASE_URL": f"{root}/v1",
            "OPENAI_API_BASE": f"{root}/v1",
            "OPENAI_API_KEY": self.token,
            "ANTHROPIC_BASE_URL": root,
            "ANTHROPIC_API_KEY": self.token,
            "HORNBEAM_SESSION": root,
            "HORNBEAM_MODEL": self.agents[0],
        }

    @contextmanager
    def request(self) -> Iterator[Callable[[int], None]]:
        """A request is there, from its head to its answer; it says how many bytes it brings.

        Raises `BadRequest` where too many are. What is refused meanwhile is counted.
        """
        size = 0

        def take(more: int) -> None:
            nonlocal size
            if self._held + more > HELD:
                text = f"the requests of this session have more than {HELD} bytes"
                raise BadRequest(text, 429, "too_many", close=True)
            self._held, size = self._held + more, size + more

        self._waiting += 1
        try:
            if self._waiting > WAITING:
                text = f"more than {WAITING} requests of this session at a time"
                raise BadRequest(text, 429, "too_many")
            yield take
        except BadRequest as error:
            self._refused(error)
            raise
        finally:
            self._waiting, self._held = self._waiting - 1, self._held - size
            self._heard = time.monotonic()

    async def submit(
        self,
        agent: str,
        asked: Asked,
        retry: int = 0,
        gone: asyncio.Future[None] | None = None,
    ) -> Arrival:
        """The request, answered and to be `sent`; without an answer where its sender is `gone`.

        Raises `BadRequest`, also where the session is over.
        """
        if self.over is not None:
            raise BadRequest(str(self.over), self.over.status, self.over.code)
        key = self._keys.of(agent, asked)
        arrival = self._latest.get(key)
        if arrival is None or not (arrival.lost() or (retry > 0 and not arrival.failed())):
            arrival = self._begin(agent, asked, key)
        else:
            self.counts["repeats"] += 1
        arrival.waiting += 1
        try:
            awaited: set[asyncio.Future[Any]] = {arrival.answer, gone or arrival.answer}
            await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
            if arrival.answer.done():
                arrival.answer.result()
            else:
                arrival.sent(whole=False)
        except BaseException:
            arrival.sent(whole=False)
            raise
        return arrival

    def again(self, agent: str, asked: Asked, told: int) -> Arrival:
        """A request of before a stop, whose answer is in the record."""
        return self._begin(agent, asked, self._keys.of(agent, asked), told)

    def _begin(self, agent: str, asked: Asked, key: str, told: int | None = None) -> Arrival:
        answer = asyncio.get_running_loop().create_future()
        arrival = Arrival(agent, asked, key, answer, told=told)
        # Whoever waited may have hung up.
        arrival.answer.add_done_callback(lambda f: None if f.cancelled() else f.exception())
        self._latest[key] = arrival
        self._new.put_nowait(arrival)
        self.counts["requests"] += 1
        for name in asked.ignored:
            self.counts[f"ignored/{name}"] += 1
        return arrival

    def take_refused(self) -> Mapping[str, int]:
        """Why requests were refused since this was asked last, and how many."""
        refused, self._unanswered = self._unanswered, Counter()
        return refused

    def _refused(self, error: BadRequest) -> None:
        """Count what its sender was told; a loop of such requests ends."""
        self.counts[f"refused/{error.code}"] += 1
        self._unanswered[error.code] += 1
        self._refusals += 1
        if self._refusals == REFUSED:
            text = f"{REFUSED} requests of the agent were refused, the last one: {error}"
            self.end(Ended(error=text))

    def end(self, ended: Ended) -> None:
        """The agent is over; heard behind all requests that came before."""
        self._new.put_nowait(ended)

    async def next(self, seconds: float | None = None) -> Arrival | Ended | Quiet:
        """The next request, the end, or `QUIET` where nothing comes for so long."""
        try:
            async with asyncio.timeout(seconds):
                return await self._new.get()
        except TimeoutError:
            return QUIET

    def close(self, why: BadRequest | None = None) -> None:
        """No more requests; who still waits is told so, or why."""
        if self.over is None:
            self.over = why or BadRequest("this session is over", 410, "session_over")
        for arrival in self._latest.values():
            if not arrival.answer.done():
                arrival.answer.set_exception(self.over)
        self._latest.clear()


class SessionDoor(Protocol):
    """Opens sessions for whoever starts agents himself, and answers who has none."""

    agents: tuple[str, ...]  # who can be asked, the main one first

    async def open(self, given: Mapping[str, Any]) -> tuple[AgentSession, dict[str, Any]]:
        """A session that was opened, and what is told of it. Raises `BadRequest`."""
        ...

    async def end(self, token: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """What is told of a session that was ended so. Raises `BadRequest`."""
        ...

    def gone(self, token: str) -> BadRequest | None:
        """Why a session that was here is served no longer; None where there was none."""
        ...

    async def alone(self, agent: str, asked: Asked) -> Sequence[HttpAnswer]:
        """Answers to a request of no session. Raises `BadRequest`."""
        ...
