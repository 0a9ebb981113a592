"""A team of role-prompted agents: any graph of who hears whom, with conditions and bounded cycles.

Agents that wait for nobody speak first; another speaks when all that it hears have spoken or were
passed over, and one of them handed something on. Those that are ready together are asked together.
An edge hands the message of `from` on to `to`: always, or when its condition holds. An edge with
`times` goes back: it makes `to`, and all that follows from it, speak again, at most so many times.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from string import Formatter
from typing import Any

from pydantic import ConfigDict, Field, model_validator

from hornbeam.answers.arithmetic import ArithmeticProblem
from hornbeam.chat import Message, assistant, system, user
from hornbeam.episode.program import Episode
from hornbeam.errors import DataError
from hornbeam.programs.calls import React, ToolName, read_move
from hornbeam.programs.presets import PRESETS, worked
from hornbeam.programs.react import use_tool
from hornbeam.programs.talk import Answer, Demonstration, Turn, read_answer
from hornbeam.protocols import Program
from hornbeam.settings import Settings, nearest
from hornbeam.tree.task import Task


class Agent(Settings):
    """One agent. `role` is its system message; `prompt` may hold {question} and who it hears.

    What an agent that was passed over would have said is "". `tools` are called as in `react`:
    NAME[argument] in a reply; the agent goes on until a reply has no call, and hands that one on.
    """

    name: str
    prompt: str = "{question}"
    role: str = ""
    max_tokens: int | None = Field(None, ge=1)
    tools: dict[str, ToolName] = {}
    max_turns: int = Field(4, ge=1)


class Edge(Settings):
    """`to` hears `from`, when the message contains a text or a regular expression matches in it."""

    model_config = ConfigDict(populate_by_name=True)

    source: str = Field(alias="from")
    to: str
    contains: str = ""
    regex: str = ""
    times: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _check(self) -> Edge:
        if self.contains and self.regex:
            raise ValueError(f"edge {self}: give contains or regex, not both")
        try:
            re.compile(self.regex)
        except re.error as error:
            raise ValueError(f"edge {self}: regex = {self.regex!r}: {error}") from error
        return self

    def __str__(self) -> str:
        return f"{self.source} > {self.to}"

    def holds(self, text: str) -> bool:
        """Whether a message meets the condition."""
        return self.contains in text and re.search(self.regex, text) is not None


class Team(Settings):
    """Agents and edges, or those of a `preset` ("math" where neither is given).

    What stands beside a preset replaces its parts. Without edges the agents speak one after the
    other, and each hears all that spoke before it.
    The answer is read off the last reply of agent `final`, by default of whoever spoke last.
    """

    preset: str = ""
    agents: tuple[Agent, ...] = ()
    edges: tuple[Edge, ...] = ()
    answer: Answer = r"####\s*([^\n]+)"
    final: str = ""

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, given: Any) -> Any:
        name = str(given.get("preset", "" if "agents" in given else "math"))
        if name and name not in PRESETS:
            raise ValueError(f"no preset {name!r}: {nearest(name, PRESETS)}")
        return {**PRESETS.get(name, {}), **given}

    @cached_property
    def links(self) -> tuple[Edge, ...]:
        """The edges; where none are given, one from every agent to every later one."""
        names = [agent.name for agent in self.agents]
        chain = [(a, b) for k, b in enumerate(names) for a in names[:k]]
        return self.edges or tuple(Edge(source=a, to=b) for a, b in chain)

    @model_validator(mode="after")
    def _check(self) -> Team:
        names = [agent.name for agent in self.agents]
        if not names:
            raise ValueError(f"agents is empty: name one, or a preset: {', '.join(PRESETS)}")
        for name in names:
            if not name.isidentifier() or name == "question" or names.count(name) > 1:
                raise ValueError(f"agents: {name!r} must be a name of its own, letters and _ only")
        for edge in self.edges:
            for end in (edge.source, edge.to):
                if end not in names:
                    raise ValueError(f"edge {edge}: no agent {end!r}: {nearest(end, names)}")
        if self.final and self.final not in names:
            raise ValueError(f"final: no agent {self.final!r}: {nearest(self.final, names)}")
        for agent in self.agents:
            self._check_prompt(agent, names)
        self._check_cycles()
        return self

    def _check_prompt(self, agent: Agent, names: Sequence[str]) -> None:
        known = ["question", *(edge.source for edge in self.links if edge.to == agent.name)]
        for _, name, spec, conversion in Formatter().parse(agent.prompt):
            if name is None or (name in known and not spec and not conversion):
                continue
            hint = nearest(name, known)
            if name in names and not spec and not conversion:
                hint = f"give it an edge from {name!r}"
            raise ValueError(f"the prompt of {agent.name!r} asks for {{{name}}}: {hint}")

    def _check_cycles(self) -> None:
        try:
            follow = followers(self)
        except CycleError as error:
            ring = " > ".join(reversed(error.args[1]))
            raise ValueError(
                f"the cycle {ring} has no bound: give `times` to the edge that goes back"
            ) from error
        for edge in self.links:
            if edge.times and edge.source not in (edge.to, *follow[edge.to]):
                raise ValueError(f"edge {edge} closes no cycle: leave `times` out")


def followers(settings: Team) -> dict[str, set[str]]:
    """All that is downstream of each agent by edges that do not go back; raises `CycleError`."""
    ahead: dict[str, set[str]] = {agent.name: set() for agent in settings.agents}
    for edge in settings.links:
        if not edge.times:
            ahead[edge.source].add(edge.to)
    for name in TopologicalSorter(ahead).static_order():  # those who hear come before who speaks
        ahead[name] = ahead[name].union(*(ahead[to] for to in ahead[name]))
    return ahead


@dataclass(slots=True)
class _Floor:
    """Who may speak: `waiting` are still to come, `woken` of them were handed something."""

    settings: Team
    follow: dict[str, set[str]]
    waiting: set[str]
    woken: set[str]
    used: dict[int, int] = field(default_factory=dict)  # place of an edge that goes back -> times
    heard: dict[str, dict[str, str]] = field(default_factory=dict)  # agent -> who -> message

    def next(self) -> list[Agent]:
        """Agents whose turn it is, in the order of the table; others are passed over."""
        speak: list[Agent] = []
        while self.waiting and not speak:
            held = {e.to for e in self.settings.links if not e.times and e.source in self.waiting}
            turn = [a for a in self.settings.agents if a.name in self.waiting - held]
            speak = [agent for agent in turn if agent.name in self.woken]
            self.waiting -= {agent.name for agent in turn}
            self.woken -= {agent.name for agent in turn}
        return speak

    def hand_on(self, name: str, text: str) -> None:
        """A message goes along every edge that is open to it."""
        for place, edge in enumerate(self.settings.links):
            if edge.source != name or not edge.holds(text):
                continue
            if edge.times:
                if self.used.get(place, 0) >= edge.times:
                    continue
                self.used[place] = self.used.get(place, 0) + 1
                self.waiting |= {edge.to, *self.follow[edge.to]}
            self.heard.setdefault(edge.to, {})[name] = text
            self.woken.add(edge.to)


def team(settings: Team) -> Program:
    """The program: agents in turn until nobody is left, then the answer in the last reply."""
    follow = followers(settings)
    first = follow.keys() - set().union(*follow.values())

    async def run(task: Task, ep: Episode) -> Any:
        floor = _Floor(settings, follow, set(follow), set(first))
        said: dict[str, str] = {}
        while agents := floor.next():
            asked = [opening(settings, a, task, floor.heard.get(a.name, {})) for a in agents]
            turns = [_speak(ep, a, messages) for a, messages in zip(agents, asked)]
            for agent, text in zip(agents, await asyncio.gather(*turns)):
                said.pop(agent.name, None)
                said[agent.name] = text  # the latest stands last
                floor.hand_on(agent.name, text)
        final = settings.final or list(said)[-1]
        return read_answer(settings.answer, said[final]) if final in said else None

    return run


def opening(settings: Team, agent: Agent, task: Task, heard: Mapping[str, str]) -> list[Message]:
    """What an agent reads before it speaks."""
    nothing = {edge.source: "" for edge in settings.links if edge.to == agent.name}
    prompt = agent.prompt.format_map({**nothing, **heard, "question": task.question})
    return [*([system(agent.role)] if agent.role else []), user(prompt)]


async def _speak(ep: Episode, agent: Agent, messages: list[Message]) -> str:
    """The agent's reply; with tools the first without a call, or the last of its turns."""
    limit: dict[str, Any] = {} if agent.max_tokens is None else {"max_tokens": agent.max_tokens}
    if not agent.tools:
        return (await ep.ask(agent.name, messages, **limit)).text
    calls = React(tools=agent.tools, answer="#### {}")
    text = ""
    for _ in range(agent.max_turns):
        text = (await ep.ask(agent.name, messages, stop=list(calls.stop), **limit)).text
        name, inside = read_move(calls, text)
        if name in ("", "answer"):
            break
        observation = await use_tool(calls, ep, name, inside)
        messages = [*messages, assistant(text), user(observation)]
    return text


def team_demonstration(settings: Team) -> Demonstration | None:
    """What every agent of `arithmetic` says for a task's `data["expression"]`; None for others.

    Roles and prompts of the preset may be reworded, its agents and their order must stand.
    """
    names = [agent.name for agent in settings.agents]
    preset = Team(preset="arithmetic")
    same = names == [agent.name for agent in preset.agents] and not settings.edges
    if settings.preset != "arithmetic" or not same or any(a.tools for a in settings.agents):
        return None

    def turns(task: Task) -> list[Turn]:
        expression = task.data.get("expression")
        if not expression:
            raise DataError(f"task {task.id} has no data.expression to make a demonstration from")
        try:
            gold = worked(expression)
        except ArithmeticProblem as problem:
            raise DataError(f"task {task.id}, data.expression: {problem}") from problem
        said = [(opening(settings, a, task, gold), a.name) for a in settings.agents]
        return [Turn(messages, gold[name], name) for messages, name in said]

    return turns
