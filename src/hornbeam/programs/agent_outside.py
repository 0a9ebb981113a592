"""The program of an agent that is a process of its own; its server comes with an extra."""

from __future__ import annotations

from hornbeam.gateway.agent_settings import AgentCommand
from hornbeam.protocols import Program

__all__ = ["AgentCommand", "outside"]


def outside(settings: AgentCommand) -> Program:
    """The program. Raises `HornbeamError` where the extra is missing."""
    from hornbeam.gateway.agent_program import AgentProgram

    return AgentProgram(settings)
