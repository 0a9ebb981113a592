"""The requests of sessions that are open, kept so that an answer is found again after a stop.

A tree holds what was sampled and a digest of what was asked. A client that asks again for what it
did not hear says what it said before, and frameworks refer to answers by ids that hang on the
request; so the requests are kept beside the tree until the session ends, of each what is new.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from hornbeam.chat import Message
from hornbeam.chat.answer_places import common
from hornbeam.episode.record import asks_of, effects_of
from hornbeam.gateway.asked import Asked
from hornbeam.gateway.endpoint_formats import remember
from hornbeam.gateway.history_turns import Turns
from hornbeam.gateway.session import AgentSession, Arrival
from hornbeam.store.database import Store, Stored


class KeptAsk(NamedTuple):
    """A request, whom it asked, and how many answers had been told before it."""

    agent: str
    asked: Asked
    told: int


class KeptAsks:
    """Those of one session, by its number."""

    def __init__(self, store: Store, number: int) -> None:
        self._store, self._place = store, f"opened/{number}/"
        self._messages: list[Message] = []
        self._tools: tuple[Any, ...] = ()
        self._count = 0

    def begin(self, main: str) -> None:
        """The session is open; `main` is its main agent."""
        self._store.set(f"{self._place}main", main)

    def add(self, arrival: Arrival, told: int) -> None:
        """Keep a request."""
        asked = arrival.asked
        same = common(self._messages, asked.messages)
        row: dict[str, Any] = {"agent": arrival.agent, "told": told, "same": same}
        row |= {"messages": asked.messages[same:], "model": asked.model, "n": asked.n}
        row |= {"sampling": dict(asked.sampling), "logprobs": asked.logprobs}
        if asked.tools != self._tools:
            row["tools"] = asked.tools
        self._store.set(f"{self._place}{self._count:06}", row)
        self._messages, self._tools = list(asked.messages), asked.tools
        self._count += 1

    def read(self) -> tuple[str, list[KeptAsk]]:
        """(main agent, requests in the order in which they came), after a stop."""
        *rows, main = self._store.values(self._place) or [""]
        with self._store.reading(f"a value of {self._place!r}"):
            return str(main), list(self._read(rows))

    def _read(self, rows: list[dict[str, Any]]) -> Iterator[KeptAsk]:
        for row in rows:
            messages = (*self._messages[: row["same"]], *row["messages"])
            tools = tuple(row["tools"]) if "tools" in row else self._tools
            how = {name: row[name] for name in ("model", "sampling", "n", "logprobs")}
            self._messages, self._tools = list(messages), tools
            self._count += 1
            yield KeptAsk(row["agent"], Asked(messages=messages, tools=tools, **how), row["told"])

    def cut(self, kept: Sequence[KeptAsk]) -> None:
        """Of the requests that were read only these were answered; the others come again."""
        for number in range(len(kept), self._count):
            self._store.unset(f"{self._place}{number:06}")
        self._count = len(kept)
        self._messages = list(kept[-1].asked.messages) if kept else []
        self._tools = kept[-1].asked.tools if kept else ()

    def drop(self) -> None:
        """The session has ended."""
        self._store.unset(self._place)


async def ask_again(
    kept: Sequence[KeptAsk],
    stored: Stored,
    session: AgentSession,
    turns: Turns,
    growing: asyncio.Task[Any],
) -> int:
    """Ask what a stopped session was asked, each as it was then: the record answers all of it.

    Returns when it has, how many these are. What the record lacks nobody was told: who asked it
    asks again.
    """
    recorded = len(asks_of(effects_of([*stored.tree.nodes, *stored.open])))
    arrivals: list[Arrival] = []
    for ask in kept:
        if recorded <= 0 or growing.done():
            break
        while len(turns) < ask.told and not growing.done():
            await asyncio.sleep(0)  # nothing but the record is read meanwhile
        arrivals.append(session.again(ask.agent, ask.asked, ask.told))
        recorded -= ask.asked.n
    whole = arrivals if recorded >= 0 else arrivals[:-1]
    waiting: set[asyncio.Future[Any]] = {arrival.answer for arrival in whole}
    while waiting and not growing.done():  # one that had said all is only scored: it hears nothing
        done, _ = await asyncio.wait({*waiting, growing}, return_when=asyncio.FIRST_COMPLETED)
        waiting -= done
    for arrival in whole:
        answer = arrival.answer
        if answer.done() and not answer.cancelled() and answer.exception() is None:
            remember("responses", session, arrival.asked, answer.result()[0])
    return len(arrivals)
