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
    """One ask of a demonstration: the messages before, what to say, and who says it."""

    messages: list[Message]
    text: str
    agent: str = ""  # "": where only one policy learns, it need not be told


class MessageTurn(NamedTuple):
    """The same with a message as what to say, whose tool calls the chat template writes.

    `tools` are those that the ask offers, as `ep.ask` takes them; the template tells of them.
    """

    messages: list[Message]
    message: Message
    agent: str = ""
    tools: Sequence[Any] = ()

    @property
    def text(self) -> str:
        """What it says beside its calls."""
        return str(self.message["content"])


Demonstration = Callable[[Task], Sequence[Turn | MessageTurn]]
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
