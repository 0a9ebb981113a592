"""The text protocol of an agent with tools: calls and answers as small models can write them.

A call is a name and one argument in square brackets: `CALC[12 * 3]`. Small models manage that where
they fail at JSON. What comes back is a user message, as many chat templates know no tool role.
Brackets are counted, so an argument may hold some; a stop string that is a closing bracket ends a
reply only where it closes the outer one (`hornbeam.answers.brackets`).
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from typing import Any

from pydantic import Field, model_validator

from hornbeam.answers.brackets import inside
from hornbeam.programs.talk import Example
from hornbeam.settings import Settings

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


def read_move(settings: React, text: str) -> tuple[str, str]:
    r"""(tool name or "answer", what stands inside) of the first move in a reply; ("", "") if none.

    Brackets are counted: what stands inside may hold brackets itself.

    >>> read_move(React(), "I need CALC[12 * 3]")
    ('CALC', '12 * 3')
    >>> read_move(React(), r"ANSWER[\sqrt[3]{2}]")
    ('answer', '\\sqrt[3]{2}')
    """
    before, after = settings.answer.split("{}")
    begins = text.find(before)
    call = next(calls(tuple(settings.tools), text), None)
    if call is not None and not 0 <= begins < call[0]:
        return call[1], call[2].strip()
    begins += len(before)
    if not after and begins >= len(before):
        return "answer", text[begins:].partition("\n")[0].strip()
    answer = inside(text, begins, after) if begins >= len(before) else None
    if answer is not None:
        return "answer", answer.strip()
    return ("", "") if call is None else (call[1], call[2].strip())


def calls(names: tuple[str, ...], text: str) -> Iterator[tuple[int, str, str]]:
    """(where it begins, name, what stands inside) of the calls in a text, one behind the other."""
    at = 0
    while found := _openings(names).search(text, at):
        argument = inside(text, found.end(), "]")
        if argument is None:
            return
        yield found.start(), found[1], argument
        at = found.end() + len(argument) + 1


@functools.cache
def _openings(names: tuple[str, ...]) -> re.Pattern[str]:
    """How a call begins."""
    known = "|".join(map(re.escape, names)) or r"(?!)"
    return re.compile(rf"\b({known})\[")


def observe(settings: React, result: Any) -> str:
    """What the agent is told of a tool's result; a text that begins with "error:" as it is."""
    text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
    return text if text.startswith("error:") else settings.observation.replace("{}", text)


def hint(settings: React) -> str:
    """What the agent is told of a reply without a move."""
    forms = [*(f"{name}[...]" for name in settings.tools), settings.answer.replace("{}", "...")]
    return f"error: write {' or '.join(forms)}"
