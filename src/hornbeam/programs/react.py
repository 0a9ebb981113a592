"""An agent with tools: it writes a call, reads what came back, and so on until it answers.

    user       A box holds 12 eggs. How many are in 3 boxes?
    assistant  CALC[12 * 3]
    user       = 36
    assistant  ANSWER[36]

A call is a name and one argument in square brackets, which small models manage where they fail at
JSON; what comes back is a user message, as many chat templates know no tool role.
"""

from __future__ import annotations

import functools
import json
import re
from typing import Any

from pydantic import Field, model_validator

from hornbeam.chat import Message, assistant, user
from hornbeam.errors import DataError, ToolError
from hornbeam.program import Episode, Program
from hornbeam.programs.talk import Demonstration, Example, opening
from hornbeam.settings import Settings
from hornbeam.tasks.base import Task
from hornbeam.tools.calculator import calculate

SYSTEM = (
    "Solve the problem with the calculator. Write CALC[expression] to work something out."
    " When you know the result, write ANSWER[number]."
)


class ToolName(Settings):
    """Which tool a written name means, and which of its arguments stands in the brackets."""

    tool: str
    argument: str


class React(Settings):
    """Calls of tools until an answer. `{}` is where the answer or the observation stands."""

    agent: str = "solver"
    tools: dict[str, ToolName] = {"CALC": ToolName(tool="calculator", argument="expression")}
    system: str = SYSTEM
    examples: tuple[Example, ...] = ()
    answer: str = "ANSWER[{}]"
    observation: str = "= {}"
    stop: tuple[str, ...] = ("]",)
    max_turns: int = Field(4, ge=1)

    @model_validator(mode="after")
    def _check(self) -> React:
        for key in ("answer", "observation"):
            if getattr(self, key).count("{}") != 1:
                raise ValueError(f"{key} = {getattr(self, key)!r} needs one {{}}")
        for name in self.tools:
            if not name.isidentifier() or self.answer.startswith(f"{name}["):
                raise ValueError(f"{name!r} cannot be the name of a tool here")
        return self


def react(settings: React) -> Program:
    """The program: returns the answer, or None when the turns are used up."""

    async def run(task: Task, ep: Episode) -> Any:
        messages = opening(settings.system, settings.examples, task.question)
        for _ in range(settings.max_turns):
            reply = await ep.ask(settings.agent, messages, stop=list(settings.stop))
            name, inside = read_move(settings, reply.text)
            if name == "answer":
                return inside
            told = await _use(settings, ep, name, inside) if name else _hint(settings)
            messages += [assistant(reply.text), user(told)]
        return None

    return run


def read_move(settings: React, text: str) -> tuple[str, str]:
    """(tool name or "answer", what stands inside) of the first move in a reply; ("", "") if none.

    >>> read_move(React(), "I need CALC[12 * 3]")
    ('CALC', '12 * 3')
    """
    after, answers, calls = _patterns(tuple(settings.tools), settings.answer)
    answer = answers.search(_closed(text, after))
    call = calls.search(_closed(text, "]"))
    if call and not (answer and answer.start() < call.start()):
        return call[1], call[2].strip()
    return ("answer", answer[1].strip()) if answer else ("", "")


@functools.cache
def _patterns(names: tuple[str, ...], answer: str) -> tuple[str, re.Pattern[str], re.Pattern[str]]:
    """(what closes an answer, pattern of an answer, pattern of a call)."""
    before, after = answer.split("{}")
    inside = rf"(.*?){re.escape(after)}" if after else r"([^\n]*)"
    known = "|".join(map(re.escape, names)) or r"(?!)"
    calls = re.compile(rf"\b({known})\[([^\]]*)\]")
    return after, re.compile(re.escape(before) + inside, re.DOTALL), calls


def _closed(text: str, after: str) -> str:
    """The text up to the last `after`: an opening without its end must not be searched for long."""
    return text[: text.rfind(after) + len(after)] if after in text else ""


def observe(settings: React, result: Any) -> str:
    """What the agent is told of a tool's result; a text that begins with "error:" as it is."""
    text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
    return text if text.startswith("error:") else settings.observation.replace("{}", text)


async def _use(settings: React, ep: Episode, name: str, inside: str) -> str:
    use = settings.tools[name]
    try:
        return observe(settings, await ep.call(use.tool, **{use.argument: inside}))
    except ToolError as error:
        return f"error: {error}"


def _hint(settings: React) -> str:
    forms = [*(f"{name}[...]" for name in settings.tools), settings.answer.replace("{}", "...")]
    return f"error: write {' or '.join(forms)}"


def react_demonstration(settings: React) -> Demonstration | None:
    """One call with the task's `data["expression"]`, then its result; None without a calculator."""
    name = next((n for n, use in settings.tools.items() if use.tool == "calculator"), None)
    if name is None:
        return None

    def turns(task: Task) -> list[tuple[list[Message], str]]:
        expression = task.data.get("expression")
        if not expression:
            raise DataError(f"task {task.id} has no data.expression to make a demonstration from")
        result = calculate(expression)
        if result.startswith("error:"):
            raise DataError(f"task {task.id}, data.expression = {expression!r}: {result}")
        before = opening(settings.system, settings.examples, task.question)
        call = f"{name}[{expression}]"
        then = [*before, assistant(call), user(observe(settings, result))]
        return [(before, call), (then, settings.answer.replace("{}", result))]

    return turns
