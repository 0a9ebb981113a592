"""An agent that calls tools natively: by the model's own chat template, until it answers in words.

user       A box holds 12 eggs. How many are in 3 boxes?
assistant  [calculator(expression="12 * 3")]
tool       36
assistant  36
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import Field

from hornbeam.chat import Message, Spoken, ToolCall, assistant, result_of, user
from hornbeam.chat.history import call_id
from hornbeam.episode.program import Episode
from hornbeam.programs.talk import Answer, Demonstration, MessageTurn, opening, read_answer
from hornbeam.programs.worked_calls import worked_calls
from hornbeam.protocols import Program
from hornbeam.settings import Settings
from hornbeam.tools.schema import ALL, Schema, offered
from hornbeam.tree.task import Task

SYSTEM = "Solve the problem. Call the tools you need, then answer with the result alone."


class ToolAgent(Settings):
    """Native calls of tools until a reply without one, whose text is the answer.

    `tools` are names of the run's tools, "*" for all. A reply that has neither a call nor an
    answer is told so, and counts as a turn.
    """

    agent: str = "solver"
    tools: tuple[str, ...] = Field((ALL,), min_length=1)
    system: str = SYSTEM
    answer: Answer = ""
    max_turns: int = Field(4, ge=1)


def tool_agent(settings: ToolAgent) -> Program:
    """The program: returns the answer, or None when the turns are used up."""

    async def run(task: Task, ep: Episode) -> Any:
        messages = opening(settings.system, (), task.question)
        for _ in range(settings.max_turns):
            reply = await ep.ask(settings.agent, messages, tools=settings.tools)
            if reply.calls:
                messages += [reply.message, *await ep.run(reply)]
                continue
            answer = read_answer(settings.answer, reply.content)
            if answer:
                return answer
            messages += [reply.message, user("error: call a tool, or answer")]
        return None

    return run


def tool_agent_offers(
    settings: ToolAgent, tools: Mapping[str, Callable[..., Any]]
) -> dict[str, list[Schema]]:
    """The schemas that its agent is offered of the run's tools, by the agent."""
    return {settings.agent: offered(settings.tools, tools, "program 'tools'")}


def tool_agent_demonstration(settings: ToolAgent) -> Demonstration:
    """The calls that a task's data work out, a round in one reply, then the answer.

    They are of the first tool that is named, or of one by its ready-made name (`worked_calls`).
    """

    def turns(task: Task) -> list[MessageTurn]:
        worked, more = worked_calls(task), (settings.agent, settings.tools)
        name = worked.tool if ALL in settings.tools else settings.tools[0]
        messages = opening(settings.system, (), task.question)
        out: list[MessageTurn] = []
        count = 0
        for together in worked.rounds:
            calls, results = list[ToolCall](), list[Message]()
            for given, found in together:
                arguments = {worked.argument: given}
                raw = json.dumps(arguments, ensure_ascii=False)
                calls.append(ToolCall(call_id(count), name, arguments, raw))
                results.append(result_of(calls[-1], found))
                count += 1
            said = Spoken("", calls=tuple(calls)).message()
            out.append(MessageTurn([*messages], said, *more))
            messages += [said, *results]
        return [*out, MessageTurn(messages, assistant(worked.answer), *more)]

    return turns
