"""Requests of a session become asks of an episode, and replies their answers.

What the record of a replay holds is asked in its order, whatever the order in which requests come;
what it does not hold is held until all that it holds has been asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hornbeam.chat import Message
from hornbeam.episode.earlier_turns import EarlierTurns
from hornbeam.episode.program import Episode
from hornbeam.episode.record import Digests
from hornbeam.errors import EngineError, ProgramError, PromptTooLong
from hornbeam.gateway.answered import HttpAnswer
from hornbeam.gateway.asked import Asked, BadRequest
from hornbeam.gateway.delegations import Delegations
from hornbeam.gateway.history_turns import Turns
from hornbeam.gateway.relayed import SeenPrompts, answered, refused
from hornbeam.gateway.session import AgentSession, Arrival, Ended, Quiet
from hornbeam.gateway.volatile import Volatile


@dataclass(slots=True, eq=False)
class _Held:
    """A request of which not all was asked: as many asks as it wants answers."""

    arrival: Arrival
    payload: tuple[Sequence[Message], dict[str, Any]]
    earlier: EarlierTurns
    digest: str
    left: int
    scope: str | None = None  # once it was asked
    answers: list[HttpAnswer] = field(default_factory=list)


class Relay:
    """Hands the requests of a session to an episode, and its replies back.

    A request that the record lacks is held for `patience` seconds; then it is asked, and told where
    it differs. With `branches`, which hears what differs, it begins a branch there instead. `kept`
    hears of each new request and how many answers had been told before it, for who asks them again
    after a stop.
    """

    def __init__(
        self,
        ep: Episode,
        session: AgentSession,
        patience: float,
        kept: Callable[[Arrival, int], None] | None = None,
        branches: Callable[[str], None] | None = None,
        volatile: Volatile | None = None,
        turns: Turns | None = None,
    ) -> None:
        self.ep, self.session, self.patience = ep, session, patience
        self.kept, self.branches = kept, branches
        self.turns = Turns() if turns is None else turns
        self.seen = SeenPrompts()
        self.volatile = volatile or Volatile()
        self._ahead = ep.effects.ahead()  # (agent, digest, scope) of asks that are still to come
        self._delegations = Delegations(ep, session.agents[0])
        self._digests = Digests()
        self._before: Asked | None = None  # whose settings these are
        self._settings: dict[str, Any] = {}
        self._held: list[_Held] = []
        self._asks: set[asyncio.Task[None]] = set()
        self._failure: EngineError | None = None  # the engine's, until it answers again

    async def run(self) -> Ended:
        """Until the agent ends: what it answered. Raises `ProgramError` where it failed.

        Raises `EngineError` where the engine failed and the agent ended behind that: some take the
        error for an answer.
        """
        event = self._next()
        try:
            while True:
                await asyncio.wait({event, *self._asks}, return_when=asyncio.FIRST_COMPLETED)
                for ask in [ask for ask in self._asks if ask.done()]:
                    self._asks.remove(ask)
                    ask.result()
                if not event.done():
                    continue
                heard = event.result()
                if isinstance(heard, Ended):
                    if self._ahead and self.branches is not None:
                        self.branches(self.ep.effects.branch())
                    if heard.error:
                        raise ProgramError(heard.error)
                    if self._failure is not None:
                        raise EngineError(f"the agent ended without the engine: {self._failure}")
                    return heard
                if isinstance(heard, Quiet):
                    self._diverge()
                else:
                    self._hold(heard)
                self._match()
                event = self._next()
        finally:
            for ask in self._asks:
                ask.cancel()

    def _next(self) -> asyncio.Future[Any]:
        return self.ep.effects.outside(self.session.next(self.patience if self._held else None))

    def _hold(self, arrival: Arrival) -> None:
        asked, told = arrival.asked, arrival.told
        if told is None:
            told = len(self.turns)
        messages, earlier = self.turns.restore(asked, self.session.client, told)
        earlier = earlier._replace(refused=self.session.take_refused())
        try:
            payload = self.ep.plain(messages), self._settings_of(asked)
        except ProgramError as error:
            if not arrival.answer.done():
                arrival.answer.set_exception(BadRequest(str(error)))
            return
        if arrival.told is None and self.kept is not None:
            self.kept(arrival, told)
        said = self._digests.of(self.volatile.masked(payload) if self.volatile else payload)
        self._held.append(_Held(arrival, payload, earlier, said, asked.n))

    def _settings_of(self, asked: Asked) -> dict[str, Any]:
        """The settings of an ask; those of the ask before where they are the same."""
        before = self._before
        if before is None or asked.tools is not before.tools or asked.sampling != before.sampling:
            self._settings = self.ep.settings(asked.tools, asked.sampling)
            self._before = asked
        return self._settings

    def _diverge(self) -> None:
        """The oldest request that is held is no ask of the record."""
        if self.branches is None or not self._ahead:
            self._ask(self._held.pop(0))  # which is told
            return
        held = self._held[0]
        self.branches(self.ep.effects.branch(held.arrival.agent, held.payload))
        self._ahead.clear()

    def _match(self) -> None:
        """Ask what can be asked: the next of the record, all of it behind the record's end."""
        while self._held:
            wanted, scope = (self._ahead[0][:2], self._ahead[0][2]) if self._ahead else (None, None)
            found = (h for h in self._held if wanted in (None, (h.arrival.agent, h.digest)))
            held = next(found, None)
            if held is None:
                return
            if wanted is not None:
                self._ahead.pop(0)
            self._ask(held, scope)
            if not held.left:
                self._held.remove(held)

    def _ask(self, held: _Held, recorded: str | None = None) -> None:
        held.left -= 1
        if held.scope is None:
            asked = held.arrival.asked
            held.scope = self._delegations.scope(held.arrival.agent, asked.messages, recorded)
        self._asks.add(asyncio.create_task(self._answer(held)))

    async def _answer(self, held: _Held) -> None:
        """Ask once, and answer the request when it has all its answers."""
        assert held.scope is not None
        arrival, answer, earlier = held.arrival, held.arrival.answer, held.earlier
        held.earlier = earlier._replace(rewritten=(), refused={})  # told once
        how: dict[str, Any] = {"earlier": earlier}
        name = arrival.key
        if self.volatile:  # equal answers have equal names, whatever varied in the request
            how["digest"] = held.digest
            name = f"{arrival.agent} {held.digest}"
        try:
            reply = await self.ep.effects.issue(
                "ask", arrival.agent, held.scope, held.payload, **how
            )
        except EngineError as error:
            if not isinstance(error, PromptTooLong):
                self._failure = error
            if not answer.done():
                answer.set_exception(refused(error))
            return
        self._failure = None
        seen = self.seen.cached(reply)
        held.answers.append(answered(arrival.asked, arrival.agent, name, reply, seen))
        self.turns.add(arrival.asked, held.answers[-1], reply)
        if len(held.answers) == arrival.asked.n and not answer.done():
            answer.set_result(held.answers)
