"""Ready-made agent programs by name, and your own out of a file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hornbeam.errors import RecipeError
from hornbeam.programs.agent_outside import AgentCommand, outside
from hornbeam.programs.calls import React, ToolName
from hornbeam.programs.command_agent import Commands, commands, commands_demonstration
from hornbeam.programs.delegate import Delegate, delegate, delegate_demonstration
from hornbeam.programs.errand import Errand, errand, errand_demonstration
from hornbeam.programs.judge_program import Judge, judge, judge_demonstration
from hornbeam.programs.lookup_agent import lookup, lookup_demonstration
from hornbeam.programs.own_program import own_program
from hornbeam.programs.react import react, react_demonstration
from hornbeam.programs.single import Single, single, single_demonstration
from hornbeam.programs.talk import Demonstration
from hornbeam.programs.team import Team, team, team_demonstration
from hornbeam.programs.tool_agent import (
    ToolAgent,
    tool_agent,
    tool_agent_demonstration,
    tool_agent_offers,
)
from hornbeam.programs.verifiers_program import (
    VerifiersProgram,
    verifiers_offers,
    verifiers_program,
)
from hornbeam.protocols import Program
from hornbeam.settings import Settings, build

__all__ = ["Demonstration", "Ready", "check_names", "make_program", "native_tools", "programs"]


class _Lookup(Settings):
    """The agent of the tiny world takes no settings."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A ready-made program: its settings, what makes it, what makes its demonstrations.

    `agents` and `tools` are the names that it asks and calls; the first agent is the main one.
    `offers` are the schemas of the run's tools that its agents get by their chat template.
    """

    settings: type[Settings]
    program: Callable[[Any], Program]
    demonstration: Callable[[Any], Demonstration | None]
    agents: Callable[[Any], Iterable[str]] = lambda settings: [settings.agent]
    beside: Callable[[Any, Path], Any] = lambda settings, base: settings  # its files found
    tools: Callable[[Any], Iterable[str]] = lambda settings: []
    offers: Callable[[Any, Any], dict[str, Any]] = lambda settings, tools: {}


def _called(*of: Mapping[str, ToolName]) -> list[str]:
    return list(dict.fromkeys(use.tool for tools in of for use in tools.values()))


programs: dict[str, Ready] = {
    "single": Ready(Single, single, single_demonstration),
    "react": Ready(React, react, react_demonstration, tools=lambda s: _called(s.tools)),
    "team": Ready(
        Team,
        team,
        team_demonstration,
        agents=lambda s: [agent.name for agent in s.agents],
        tools=lambda s: _called(*(agent.tools for agent in s.agents)),
    ),
    "tools": Ready(
        ToolAgent,
        tool_agent,
        tool_agent_demonstration,
        tools=lambda s: list(s.tools),
        offers=tool_agent_offers,
    ),
    "commands": Ready(
        Commands,
        commands,
        commands_demonstration,
        tools=lambda s: [*s.commands, *([s.state] if s.state else [])],
    ),
    "judge": Ready(Judge, judge, judge_demonstration),
    "delegate": Ready(
        Delegate,
        delegate,
        delegate_demonstration,
        agents=lambda s: [s.agent, s.sub.agent],
        tools=lambda s: _called(s.sub.tools),
    ),
    "errand": Ready(
        Errand,
        errand,
        errand_demonstration,
        agents=lambda s: [s.agent, s.sub],
        tools=lambda s: ["lookup"],
    ),
    "agent": Ready(
        AgentCommand,
        outside,
        lambda settings: None,
        agents=lambda settings: [],
        beside=lambda settings, base: settings.beside(base),
    ),
    "verifiers": Ready(
        VerifiersProgram,
        verifiers_program,
        lambda settings: None,
        offers=verifiers_offers,
    ),
    "lookup": Ready(
        _Lookup,
        lambda settings: lookup,
        lambda settings: lookup_demonstration,
        agents=lambda settings: ["seeker"],
        tools=lambda settings: ["lookup"],
    ),
}


def check_names(
    name: str, settings: Mapping[str, Any], agents: Collection[str], tools: Collection[str]
) -> None:
    """Raise `RecipeError` where a ready-made program asks or calls what the recipe has not.

    Of a file's program nobody knows whom it asks before it does.
    """
    if name not in programs:
        return
    ready = programs[name]
    values = build("program", {name: ready.settings}, name, settings)
    for agent in ready.agents(values):
        if agent not in agents:
            raise RecipeError(
                f"program {name!r} asks agent {agent!r}, and [agents] has {_listed(agents)}: name"
                f" the table [agents.{agent}], or name its agent in [program]"
            )
    for tool in ready.tools(values):
        if tool not in tools and not (tool == "*" and tools):
            raise RecipeError(
                f"program {name!r} calls tool {tool!r}, and [tools] has {_listed(tools)}: add a"
                f" table [tools.{tool}], or name its tool in [program]"
            )


def native_tools(
    name: str, settings: Mapping[str, Any], tools: Mapping[str, Any]
) -> dict[str, list[dict[str, Any]]]:
    """The schemas that a ready-made program offers natively of the run's tools, by agent.

    Raises `ProgramError` for a tool that no schema holds. Of a file's program nobody knows.
    """
    if name not in programs:
        return {}
    ready = programs[name]
    return ready.offers(build("program", {name: ready.settings}, name, settings), tools)


def _listed(names: Collection[str]) -> str:
    return ", ".join(map(repr, names)) or "none"


def make_program(
    name: str, settings: Mapping[str, Any] = {}, base: str | Path = "."
) -> tuple[Program, Demonstration | None]:
    """The program of that name, and what shows a task's gold conversation where it has that.

    `name` is a ready-made one, or "path/to/file.py:function" with the path relative to `base`, else
    to the working directory; the settings are then keyword arguments of the function, and a
    function `demonstration` in the same file is what shows. Raises `RecipeError` for settings and
    unknown names, `ProgramError` for files.
    """
    if name not in programs:
        return own_program(name, settings, programs, base)
    values = build("program", {n: ready.settings for n, ready in programs.items()}, name, settings)
    ready = programs[name]
    values = ready.beside(values, Path(base))
    return ready.program(values), ready.demonstration(values)
