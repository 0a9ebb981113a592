"""The program of an agent that somebody else starts, who opens and ends its session."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hornbeam.episode.program import Episode
from hornbeam.gateway.history_turns import Turns
from hornbeam.gateway.relay import Relay
from hornbeam.gateway.session import AgentSession, Arrival
from hornbeam.tree.task import Task

PATIENCE = 5.0  # seconds that a request which the record lacks is held


class OpenedProgram:
    """Answers the requests of one session until it is ended; returns what that said.

    `kept` hears of each request and how many answers were told before it.
    """

    def __init__(
        self, session: AgentSession, kept: Callable[[Arrival, int], None] | None = None
    ) -> None:
        self.session, self.kept, self.turns = session, kept, Turns()

    async def __call__(self, task: Task, ep: Episode) -> Any:
        """One run of the agent."""
        relay = Relay(ep, self.session, PATIENCE, self.kept, turns=self.turns)
        try:
            ended = await relay.run()
            if ended.reward is not None:
                ep.reward(ended.reward, "agent")
            return ended.answer
        finally:
            counts = {f"turns/{way}": n for way, n in self.turns.counts.items()}
            self.session.counts.update(counts)
