"""The program of an agent that is somebody else's process: its requests become asks of an episode.

A fork or a resume starts the agent again in a fresh folder. Its requests are held against the
record by what they say: a recorded ask is answered from the record whatever the order in which
requests come, and what the record does not hold is asked live, once all that it holds has come.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from hornbeam.episode.program import Episode
from hornbeam.gateway.agent_group import AgentGroup
from hornbeam.gateway.agent_process import AgentProcess
from hornbeam.gateway.agent_settings import AgentCommand
from hornbeam.gateway.agent_test import Verdict, tested
from hornbeam.gateway.fork_host import ForkHost
from hornbeam.gateway.relay import Relay
from hornbeam.gateway.server import Gateway
from hornbeam.gateway.session import AgentSession, Arrival
from hornbeam.gateway.volatile import Volatile
from hornbeam.tree.task import Task

REFUSED = "refused/"  # before why, in what the gateway counts
TEST = "agent_test"  # as what its test is recorded


class AgentProgram:
    """The program: starts the agent for a task and returns what it answered."""

    def __init__(self, settings: AgentCommand) -> None:
        self.settings, self.gateway = settings, Gateway()
        self.host, self.group = ForkHost(settings), AgentGroup()
        self.warn: Callable[[str], None] = lambda text: None
        self.divergences = 0
        self.volatile = Volatile(settings.volatile)
        self.heard: Callable[[Task, Arrival], None] | None = None  # hears of each request

    async def __call__(self, task: Task, ep: Episode) -> Any:
        """One run of the agent."""
        how, session = self.settings, AgentSession(ep.effects.names())
        process = AgentProcess(how, self.host, self.group)
        kept = None if self.heard is None else partial(self._heard, task)
        branches = partial(self._branches, task) if how.on_divergence == "branch" else None
        relay = Relay(
            ep, session, how.patience, kept=kept, branches=branches, volatile=self.volatile
        )
        try:
            await ep.effects.outside(self._begin(process, task, session))
            ended = await relay.run()
            if ended.reward is not None:
                ep.reward(ended.reward, "agent")
            if how.test:
                test = partial(self._test, process, task, ended.answer)
                payload = {"command": how.test}
                await ep.effects.issue("call", TEST, ep.scope, payload, run=test)
            return ended.answer
        finally:
            process.close()
            session.counts.update({f"turns/{way}": n for way, n in relay.turns.counts.items()})
            self.gateway.remove(session)

    async def _begin(self, process: AgentProcess, task: Task, session: AgentSession) -> None:
        address = await self.gateway.start()
        await self.group.start()
        self.gateway.add(session)
        await process.start(task, session, address)

    def _heard(self, task: Task, arrival: Arrival, told: int) -> None:
        assert self.heard is not None
        self.heard(task, arrival)

    def _branches(self, task: Task, text: str) -> None:
        """A run left its path: the first one is told, each is in the ledger."""
        self.divergences += 1
        if self.divergences == 1:
            self.warn(
                f"a run of the agent on task {task.id} did not repeat its path: {text}; it goes on"
                " as a branch of its own, counted as `divergences` (on_divergence);"
                " `hornbeam gateway check` says what varies"
            )

    async def _test(self, process: AgentProcess, task: Task, answer: Any) -> Verdict:
        assert process.folder is not None
        return await tested(self.settings, process.folder, task, answer)

    def tell(self, warn: Callable[[str], None]) -> None:
        """Let `warn` hear how agents are started where that is not as it was asked for.

        And of the first run that does not repeat its path, and of requests that were refused.
        """
        self.host.warn = self.warn = warn

    async def aclose(self) -> None:
        """End the server, the process that agents are forked from, and all that agents left."""
        await self.host.aclose()
        await self.group.aclose()
        await self.gateway.aclose()
        refused = {k: n for k, n in self.gateway.counts.items() if k.startswith(REFUSED)}
        if refused:
            told = ", ".join(f"{n} {k.removeprefix(REFUSED)}" for k, n in sorted(refused.items()))
            self.warn(f"requests to the agents' endpoint that were refused: {told}")
