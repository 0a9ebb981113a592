"""A `verifiers` environment as an agent program: asks and calls until a reply without a call.

It is verifiers' "null" harness. The last call is that of the rewards, whose result `reward.rule =
"verifiers"` reads; the answer is what was said last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import Field

from hornbeam.chat import Message
from hornbeam.episode.program import Episode
from hornbeam.errors import DataError, PromptTooLong
from hornbeam.protocols import Program
from hornbeam.settings import Settings
from hornbeam.tasks.verifiers_environment import KEY, STOPS, opening
from hornbeam.tools.schema import ALL, Schema, offered
from hornbeam.tools.verifiers_tools import SCORE, STOP
from hornbeam.tree.task import Task


class VerifiersProgram(Settings):
    """`environment`: an installed taskset, or a module beside the recipe; `taskset`: its settings.

    An episode ends with a reply without a call, by a stop of its task, or after `max_turns`.
    """

    environment: str = Field(min_length=1)
    taskset: dict[str, Any] = {}
    agent: str = "solver"
    max_turns: int = Field(8, ge=1)


def verifiers_program(settings: VerifiersProgram) -> Program:
    """The program: returns what was said last."""

    async def run(task: Task, ep: Episode) -> Any:
        if KEY not in task.data:
            raise DataError(f"task {task.id} is of no verifiers environment")
        messages: list[Message] = list(opening(task.data[KEY]))
        ended, said = "max_turns", ""
        for _ in range(settings.max_turns):
            if task.data[STOPS] and (stop := await ep.call(STOP, messages=messages)):
                ended = stop
                break
            try:
                reply = await ep.ask(settings.agent, messages, tools=ALL)
            except PromptTooLong:
                ended = "context_length"
                break
            messages.append(reply.message)
            said = reply.content
            if not reply.calls:
                ended = "agent_completed"
                break
            messages += await ep.run(reply)
        await ep.call(SCORE, messages=messages, ended=ended)
        return said

    return run


def verifiers_offers(
    settings: VerifiersProgram, tools: Mapping[str, Callable[..., Any]]
) -> dict[str, list[Schema]]:
    """The schemas that the agent is offered: of the environment, and of the recipe's tools."""
    return {settings.agent: offered(ALL, tools, "program 'verifiers'")}
