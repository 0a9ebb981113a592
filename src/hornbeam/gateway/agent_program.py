"""The program of an agent that is somebody else's process: its requests become asks of an episode.

A fork or a resume starts the agent again in a fresh folder. Its requests are held against the
record by what they say: a recorded ask is answered from the record whatever the order in which
requests come, and what the record does not hold is asked live, once all that it holds has come.
"""

from __future__ import annotations

import asyncio
from typing import Any

from hornbeam.chat import Message
from hornbeam.episode.program import Episode
from hornbeam.episode.record import digest
from hornbeam.errors import EngineError, ProgramError, PromptTooLong
from hornbeam.gateway.agent_process import AgentProcess
from hornbeam.gateway.agent_settings import AgentCommand
from hornbeam.gateway.asked import BadRequest
from hornbeam.gateway.history_turns import Turns
from hornbeam.gateway.relayed import answered, settings_of
from hornbeam.gateway.server import Gateway
from hornbeam.gateway.session import AgentSession, Arrival, Ended, Quiet
from hornbeam.tree.task import Task


class AgentProgram:
    """The program: starts the agent for a task and returns what it answered."""

    def __init__(self, settings: AgentCommand) -> None:
        self.settings, self.gateway = settings, Gateway()

    async def __call__(self, task: Task, ep: Episode) -> Any:
        """One run of the agent."""
        how, session = self.settings, AgentSession(ep.agents)
        process = AgentProcess(how)
        relay = _Relay(ep, session, how.patience)
        try:
            await ep.outside(self._begin(process, task, session))
            return await relay.run()
        finally:
            process.close()
            session.counts.update({f"turns/{way}": n for way, n in relay.turns.counts.items()})
            self.gateway.remove(session)

    async def _begin(self, process: AgentProcess, task: Task, session: AgentSession) -> None:
        address = await self.gateway.start()
        self.gateway.add(session)
        await process.start(task, session, address)

    async def aclose(self) -> None:
        """End the server."""
        await self.gateway.aclose()


class _Relay:
    """Hands the requests of a session to an episode, and its replies back."""

    def __init__(self, ep: Episode, session: AgentSession, patience: float) -> None:
        self.ep, self.session, self.patience = ep, session, patience
        self.ahead = ep.ahead()  # (agent, digest) of asks that the record holds and nobody asked
        self.held: list[tuple[Arrival, list[Message]]] = []
        self.turns = Turns()
        self.asks: set[asyncio.Task[None]] = set()

    async def run(self) -> Any:
        """Until the agent ends: its answer. Raises `ProgramError` where it failed."""
        event = self._next()
        try:
            while True:
                await asyncio.wait({event, *self.asks}, return_when=asyncio.FIRST_COMPLETED)
                for ask in [ask for ask in self.asks if ask.done()]:
                    self.asks.remove(ask)
                    ask.result()
                if not event.done():
                    continue
                heard = event.result()
                if isinstance(heard, Ended):
                    return self._end(heard)
                if isinstance(heard, Quiet):
                    self._ask(*self.held.pop(0))  # what is no ask of the record: it diverges
                else:
                    self.held.append((heard, self.turns.restore(heard.asked.messages)))
                    self._match()
                event = self._next()
        finally:
            for ask in self.asks:
                ask.cancel()

    def _next(self) -> asyncio.Future[Any]:
        return self.ep.outside(self.session.next(self.patience if self.held else None))

    def _end(self, ended: Ended) -> Any:
        if ended.error:
            raise ProgramError(ended.error)
        return ended.answer

    def _match(self) -> None:
        """Ask what can be asked: the next of the record, anything behind its end."""
        while self.held:
            if not self.ahead:
                found = 0
            else:
                wanted = self.ahead[0]
                keys = [
                    (arrival.agent, self._digest(*it)) for it in self.held for arrival in it[:1]
                ]
                if wanted not in keys:
                    return
                found = keys.index(wanted)
                self.ahead.pop(0)
            self._ask(*self.held.pop(found))

    def _digest(self, arrival: Arrival, messages: list[Message]) -> str:
        return digest(self.ep.asked(messages, **settings_of(arrival.asked)))

    def _ask(self, arrival: Arrival, messages: list[Message]) -> None:
        self.asks.add(asyncio.create_task(self._answer(arrival, messages)))

    async def _answer(self, arrival: Arrival, messages: list[Message]) -> None:
        try:
            reply = await self.ep.ask(arrival.agent, messages, **settings_of(arrival.asked))
        except PromptTooLong as error:
            self._fail(arrival, BadRequest(str(error), 400, "context_length_exceeded"))
        except EngineError as error:
            self._fail(arrival, BadRequest(str(error), 500, "engine_error"))
        else:
            answer = answered(arrival.asked, arrival.agent, arrival.key, reply)
            self.turns.add(answer, reply)
            if not arrival.answer.done():
                arrival.answer.set_result([answer])

    def _fail(self, arrival: Arrival, error: BadRequest) -> None:
        if not arrival.answer.done():
            arrival.answer.set_exception(error)
