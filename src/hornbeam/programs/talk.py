"""What ready programs share: how a conversation opens, how an answer is read off a reply."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator

from hornbeam.answers.reading import last_number
from hornbeam.chat import Message, assistant, system, user
from hornbeam.tree.task import Task


class Turn(NamedTuple):
    """One ask of a demonstration: the messages before, what to say, and who says it.

    What calls tools is a message, not a text; `tools` are those that the ask offers (`ep.ask`).
    """

    messages: list[Message]
    text: str | Message
    agent: str = ""  # "": where only one policy learns, it need not be told
    tools: Sequence[Any] = ()


Demonstration = Callable[[Task], list[Turn]]
"""A task's gold conversation, ask by ask. Raises `DataError` for a task that holds none."""


def _turns(turns: tuple[str, ...]) -> tuple[str, ...]:
    if not turns or len(turns) % 2:
        raise ValueError("turns go user, assistant, user, assistant ... and end with the assistant")
    return turns


def _reader(answer: str) -> str:
    if answer not in ("", "number"):
        try:
            groups = re.compile(answer).groups
        except re.error as error:
            raise ValueError(f"'number' or a regular expression is expected: {error}") from error
        if groups != 1:
            raise ValueError(f"the expression needs one group, it has {groups}")
    return answer


Example = Annotated[tuple[str, ...], AfterValidator(_turns)]
"""One worked conversation: what user and assistant say in turn."""

Answer = Annotated[str, AfterValidator(_reader)]
"""What of a reply is the answer: "" all of it, "number" what it ends on, else a regex's group."""


def opening(text: str, examples: Iterable[Example], question: str) -> list[Message]:
    """The messages up to where an agent speaks first: system text, worked examples, question."""
    messages = [system(text)] if text else []
    for turns in examples:
        for said, answer in zip(turns[::2], turns[1::2]):
            messages += [user(said), assistant(answer)]
    return [*messages, user(question)]


def read_answer(answer: Answer, text: str) -> str | None:
    """The answer in a reply, or None where there is none; of several the last.

    A number comes in its plain spelling (1200.50, -18, 3/4), which rules read as the same number.
    """
    if not answer:
        return text.strip()
    if answer == "number":
        number = last_number(text)
        return None if number is None else str(number)
    found = re.findall(answer, text)
    return str(found[-1]).strip() if found else None
