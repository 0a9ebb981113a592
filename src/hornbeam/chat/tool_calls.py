"""Native tool calls: an answer read into text, reasoning and calls, and as a message again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ID_LENGTH = 9  # letters and digits, as Mistral's templates want


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call that an answer makes.

    `arguments` are empty where there is a `problem`, one line to show the model.
    """

    id: str
    name: str
    arguments: dict[str, Any]
    raw: str  # the arguments exactly as they were sampled
    problem: str = ""  # broken JSON, no name, arguments that are no object, a call cut off


@dataclass(frozen=True, slots=True)
class Spoken:
    """What an answer says: its text without reasoning and calls, and these."""

    text: str
    reasoning: str = ""
    calls: tuple[ToolCall, ...] = ()

    def message(self) -> Mapping[str, Any]:
        """The assistant's message to quote this answer by; arguments stand as they were sampled.

        A message with these values finds the ids that were sampled (`Answers`).
        """
        out: dict[str, Any] = {"role": "assistant", "content": self.text}
        if self.reasoning:
            out["reasoning_content"] = self.reasoning
        if self.calls:
            out["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.raw},
                }
                for call in self.calls
            ]
        return out


def result_of(call: ToolCall, content: str) -> Mapping[str, Any]:
    """The tool's message for what a call brought back."""
    return {"role": "tool", "content": content, "tool_call_id": call.id, "name": call.name}


def numbered_id(tokens: Sequence[int], number: int) -> str:
    """The id of an answer's call: equal for equal answers, so that replays tell the same."""
    seen = f"{number}:{','.join(map(str, tokens))}".encode()
    return hashlib.blake2b(seen, digest_size=8).hexdigest()[:ID_LENGTH]


def has_calls(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether an assistant's message of a conversation has more than its text: calls, reasoning."""
    for message in messages:
        if len(message) > 2 and (message.get("tool_calls") or message.get("reasoning_content")):
            return True
    return False


def quoted_as(message: Mapping[str, Any]) -> tuple[str, str]:
    """By what a message and an answer are known to be the same: exactly, and as JSON reads.

    The text alone where there is nothing else. Ids of calls do not count.
    """
    text = message["content"]
    reasoning, calls = message.get("reasoning_content") or "", message.get("tool_calls") or []
    if not reasoning and not calls:
        return text, text
    exact: list[Any] = [text, reasoning]
    alike: list[Any] = [text, reasoning]
    for call in calls:
        held = call.get("function", call)
        arguments = held.get("arguments")
        exact.append([held.get("name"), arguments])
        alike.append([held.get("name"), parsed(arguments)])
    return "\0" + _sorted(exact), "\0" + _sorted(alike)


def parsed(arguments: Any) -> Any:
    """Arguments of a message as JSON reads them; a text that is none stays as it is."""
    if not isinstance(arguments, str):
        return arguments
    try:
        return json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments


def written_out(message: Mapping[str, Any]) -> dict[str, Any]:
    """The message with the arguments of its calls as JSON text."""
    calls = []
    for call in message.get("tool_calls") or []:
        held = call.get("function", call)
        arguments = held.get("arguments")
        text = (
            arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        )
        calls.append({**call, "function": {**held, "arguments": text}})
    return {**message, **({"tool_calls": calls} if calls else {})}


_sorted = json.JSONEncoder(sort_keys=True).encode
