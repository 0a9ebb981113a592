"""An agent with tools: it writes a call, reads what came back, and so on until it answers.

user       A box holds 12 eggs. How many are in 3 boxes?
assistant  CALC[12 * 3]
user       = 36
assistant  ANSWER[36]
"""

from __future__ import annotations

from typing import Any

from hornbeam.chat import assistant, user
from hornbeam.episode.program import Episode
from hornbeam.errors import ToolError
from hornbeam.programs.calls import React, hint, observe, read_move
from hornbeam.programs.talk import Demonstration, Turn, opening
from hornbeam.programs.worked_calls import planned, summed
from hornbeam.protocols import Program
from hornbeam.tree.task import Task


def react(settings: React) -> Program:
    """The program: returns the answer, or None when the turns are used up."""

    async def run(task: Task, ep: Episode) -> Any:
        messages = opening(settings.system, settings.examples, task.question)
        for _ in range(settings.max_turns):
            reply = await ep.ask(settings.agent, messages, stop=list(settings.stop))
            name, inside = read_move(settings, reply.text)
            if name == "answer":
                return inside
            observation = await use_tool(settings, ep, name, inside) if name else hint(settings)
            messages += [assistant(reply.text), user(observation)]
        return None

    return run


async def use_tool(settings: React, ep: Episode, name: str, inside: str) -> str:
    """Call the tool of that name and say what the agent is told of its result."""
    use = settings.tools[name]
    try:
        return observe(settings, await ep.call(use.tool, **{use.argument: inside}))
    except ToolError as error:
        return f"error: {error}"


def react_demonstration(settings: React) -> Demonstration | None:
    """One call with the task's `data["expression"]`, then its result; without a calculator a plan.

    Of `data["plan"]` (see `delegate_demonstration`) the first tool is called with every query, one
    after the other. None without tools.
    """
    name = next((n for n, use in settings.tools.items() if use.tool == "calculator"), None)
    first = next(iter(settings.tools), None)
    if first is None:
        return None

    def turns(task: Task) -> list[Turn]:
        worked = summed(task) if name else planned(task)
        messages = opening(settings.system, settings.examples, task.question)
        out: list[Turn] = []
        for inside, found in worked.steps:
            call = f"{name or first}[{inside}]"
            out.append(Turn([*messages], call, settings.agent))
            messages += [assistant(call), user(observe(settings, found))]
        return [*out, Turn(messages, settings.answer.replace("{}", worked.answer), settings.agent)]

    return turns
