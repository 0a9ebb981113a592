"""The text protocol of an agent with tools: calls and answers as small models can write them.

A call is a name and one argument in square brackets: `CALC[12 * 3]`. Small models manage that where
they fail at JSON. What comes back is a user message, as many chat templates know no tool role.
"""

from __future__ import annotations

import functools
import json
import re
from typing import Any

from pydantic import Field, model_validator

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


def hint(settings: React) -> str:
    """What the agent is told of a reply without a move."""
    forms = [*(f"{name}[...]" for name in settings.tools), settings.answer.replace("{}", "...")]
    return f"error: write {' or '.join(forms)}"
