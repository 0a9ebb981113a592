"""SFT sets: JSON lines {"messages": [{"role", "content"}, ...], "text": what the agent says}.

Where several policies learn, "agent" says whose answer it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hornbeam.chat import Message
from hornbeam.errors import DataError
from hornbeam.program import Reply
from hornbeam.programs.talk import Turn
from hornbeam.tasks.records import read_records
from hornbeam.treefile import json_line

ROLES = ("system", "user", "assistant", "tool")


def set_line(messages: Sequence[Message], reply: Reply, text: str | None = None) -> str:
    """One answer as a line of a set; `text` stands for what was said, where it was changed."""
    said = reply.text if text is None else text
    return json_line({"messages": list(messages), "text": said, "agent": reply.agent})


def read_set(path: Path) -> list[list[Turn]]:
    """The answers of a set, a conversation of one turn each.

    Raises `DataError` with file, line and what is wrong there.
    """
    out: list[list[Turn]] = []
    for number, record in read_records(path):
        wrong = _wrong(record)
        if wrong:
            raise DataError(f"{path}, line {number}: {wrong}")
        out.append([Turn(record["messages"], record["text"], record.get("agent", ""))])
    return out


def _wrong(record: dict[str, Any]) -> str:
    """What is wrong with a record; "" where nothing is."""
    if {*record, "agent"} != {"messages", "text", "agent"}:
        return f"keys 'messages' and 'text' (and 'agent') are wanted, not {sorted(record)}"
    if not isinstance(record.get("agent", ""), str):
        return "'agent' must be the name of an agent"
    messages, text = record["messages"], record["text"]
    if not isinstance(text, str) or not text:
        return "'text' must be what the agent says, a text that is not empty"
    if not isinstance(messages, list) or not messages:
        return "'messages' must be a list of at least one message"
    for place, message in enumerate(messages):
        told = f"message {place} must be an object of 'role' and 'content', both texts"
        if not isinstance(message, dict) or set(message) != {"role", "content"}:
            return told
        if not isinstance(message["content"], str) or not isinstance(message["role"], str):
            return told
        if message["role"] not in ROLES:
            return f"message {place} has role {message['role']!r}: one of {', '.join(ROLES)}"
    return ""
