"""What every format is read into: runs, each a conversation with what was said in it.

A reader takes one record of a file (a line, a sample of a log) and gives the runs in it. A record
that cannot be read is a `DataError`; the caller puts the file and the line before it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hornbeam.chat import Message
from hornbeam.chat.history import UNREAD
from hornbeam.errors import DataError
from hornbeam.tree.nodes import Call


class Sampled(NamedTuple):
    """The ids of one answer, as they were sampled: what the model saw, what it said."""

    context: Sequence[int]
    tokens: Sequence[int]
    logprobs: Sequence[float] = ()


@dataclass(slots=True)
class ImportedRun:
    """One conversation. `said` are places of the assistant messages that the agent said in it;
    other assistant messages were put in. Runs of one `key` are of one task; without a key the
    messages before the first answer tell the task.
    """

    messages: list[Message]
    said: list[int]
    key: str | None = None
    id: Any = None  # of the task
    answer: Any = None  # the task's reference
    reward: float | None = None
    scores: dict[str, float] = field(default_factory=dict)  # become columns, at the leaf
    data: dict[str, Any] = field(default_factory=dict)  # all else that the record says
    tools: list[Any] = field(default_factory=list)
    agent: str = ""
    error: str = ""
    finish: str = ""  # of the last answer: stop or length; "" where it is not told
    sampled: dict[int, Sampled] = field(default_factory=dict)  # place -> its ids, where known
    rewards: dict[int, float] = field(default_factory=dict)  # place -> reward of that step
    as_text: bool = False  # its tools are text (`as_text`)
    calls: dict[int, tuple[Call, ...]] = field(default_factory=dict)  # place -> calls in its text


Where = str  # "file, line 3"
Records = Iterator[tuple[Where, "Any | DataError"]]


@dataclass(frozen=True, slots=True)
class Options:
    """What a reader is told: which field or scorer is the reward, in place of the format's own."""

    reward: str = ""


PLAIN = Options()


@dataclass(frozen=True, slots=True)
class Format:
    """A format. `fits`: whether a record looks like it; `group`: records that are told in several
    (spans of one rollout) brought together, where the format has such.
    """

    name: str
    fits: Callable[[Any], bool]
    read: Callable[[Mapping[str, Any], Options], Iterable[ImportedRun]]
    group: Callable[[Records], Records] | None = None


def number_of(value: Any) -> float | None:
    """A finite number, true and false as 1 and 0; None for all else."""
    if isinstance(value, (bool, int, float)) and math.isfinite(value):
        return float(value)
    return None


def numbers(values: Any) -> dict[str, float]:
    """The entries of an object that are numbers."""
    if not isinstance(values, Mapping):
        return {}
    found = ((str(name), number_of(value)) for name, value in values.items())
    return {name: value for name, value in found if value is not None}


def held(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The object in a field; an empty one where there is none."""
    found = record.get(name)
    return found if isinstance(found, Mapping) else {}


def lookup(record: Mapping[str, Any], path: str) -> Any:
    """The field at a dotted path, or the one named so; None where there is none."""
    if path in record:
        return record[path]
    at: Any = record
    for name in path.split("."):
        at = at.get(name) if isinstance(at, Mapping) else None
    return at


def calls_of(message: Message, results: Mapping[str, Any]) -> tuple[Call, ...]:
    """The calls of an assistant's message, with what came back by their ids."""
    out = []
    for call in message.get("tool_calls") or ():
        given = call["function"]["arguments"]
        arguments = given if isinstance(given, Mapping) else {UNREAD: given}
        out.append(Call(call["function"]["name"], arguments, results.get(call["id"])))
    return tuple(out)


def chosen_reward(record: Mapping[str, Any], path: str) -> float:
    """The reward in the field that was asked for. Raises `DataError` where there is none."""
    value = number_of(lookup(record, path))
    if value is None:
        raise DataError(f"no number in {path!r}, which was to be the reward")
    return value
