"""What ready programs share: how a conversation opens, how an answer is read off a reply."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Annotated, NamedTuple

from pydantic import AfterValidator

from hornbeam.chat import Message, assistant, system, user
from hornbeam.tasks.base import Task


class Turn(NamedTuple):
    """One ask of a demonstration: the messages before, what to say, and who says it."""

    messages: list[Message]
    text: str
    agent: str = ""  # "": where only one policy learns, it need not be told


Demonstration = Callable[[Task], list[Turn]]
"""A task's gold conversation, ask by ask. Raises `DataError` for a task that holds none."""

_NUMBER = re.compile(r"(?<![\d.])-?\d[\d,]*(?:\.\d+)?")


def _turns(turns: tuple[str, ...]) -> tuple[str, ...]:
    if not turns or len(turns) % 2:
        raise ValueError("turns go user, assistant, user, assistant ... and end with the assistant")
    return turns


def _reader(answer: str) -> str:
    if answer not in ("", "number"):
        try:
            groups = re.compile(answer).groups
        except re.error as error:
            raise ValueError(f"'number' or a regular expression is wanted: {error}") from error
        if groups != 1:
            raise ValueError(f"the expression needs one group, it has {groups}")
    return answer


Example = Annotated[tuple[str, ...], AfterValidator(_turns)]
"""One worked conversation: what user and assistant say in turn."""

Answer = Annotated[str, AfterValidator(_reader)]
"""What of a reply is the answer: "" all of it, "number" the last number, else a regex's group."""


def opening(text: str, examples: Iterable[Example], question: str) -> list[Message]:
    """The messages up to where an agent speaks first: system text, worked examples, question."""
    messages = [system(text)] if text else []
    for turns in examples:
        for said, told in zip(turns[::2], turns[1::2]):
            messages += [user(said), assistant(told)]
    return [*messages, user(question)]


def read_answer(answer: Answer, text: str) -> str | None:
    """The answer in a reply, or None where there is none; of several the last."""
    if not answer:
        return text.strip()
    found = _NUMBER.findall(text) if answer == "number" else re.findall(answer, text)
    if not found:
        return None
    last: str = found[-1].strip()
    return last.replace(",", "") if answer == "number" else last
