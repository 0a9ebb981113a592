"""A task: what is asked and what is known of its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from hornbeam.arguments import short

# Key of `data` that says how a set scores its answers; without it a task is the same task.
SCORING = "scoring"


@dataclass(frozen=True, slots=True)
class Task:
    """One task. `answer` is the reference, or a list of accepted ones; `data` is all the rest.

    `origin` is the file and line that it was read from, for messages: no part of the task.
    """

    id: str
    question: str
    answer: Any = None
    data: Mapping[str, Any] = field(default_factory=dict)
    origin: str = field(default="", compare=False)

    def __repr__(self) -> str:
        parts = [short(self.id), short(self.question)]
        parts += [f"answer={short(self.answer)}"] if self.answer is not None else []
        parts += [f"data={short(dict(self.data))}"] if self.data else []
        return f"Task({', '.join(parts)})"

    def to_json(self) -> dict[str, Any]:
        """The task as it stands in a tree."""
        record = asdict(self)
        del record["origin"]
        return record

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Task:
        """The task that stands in a tree; `question` may be missing there."""
        extra = record.get("data") or {}
        return cls(str(record["id"]), record.get("question", ""), record.get("answer"), extra)
