"""Messages as people have them, brought into one form: `role`, a text, tool calls, call ids.

Content may be a text, a list of text parts, or null; arguments an object or its JSON; calls may be
bare or JSON texts themselves. Reasoning that stands apart comes before the answer between think
tags. Calls are numbered along the conversation. Parts that are no text are refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from hornbeam.chat import Message
from hornbeam.chat.history import call_id
from hornbeam.errors import DataError
from hornbeam.files.json_text import parse_json

ROLES = {
    "system": "system",
    "developer": "developer",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
TEXTS = ("text", "input_text", "output_text")
THOUGHTS = {"reasoning": "reasoning", "thinking": "thinking"}
REASONING = ("reasoning_content", "reasoning")  # where thoughts stand beside the content
OPEN, SHUT = "<think>\n", "\n</think>\n\n"


class Conversation:
    """Messages of one conversation, read in order."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.said: list[int] = []  # places of assistant messages that are the agent's own
        self._ids: dict[str, str] = {}  # as they were given -> as they are numbered
        self._open: list[str] = []  # calls without a result yet
        self._calls = 0

    def add(self, given: Any, own: bool = True) -> None:
        """One more message; `own`: an assistant's is the agent's. Raises `DataError`."""
        where = f"message {len(self.messages) + 1}"
        if not isinstance(given, Mapping):
            raise DataError(f"{where} is no object: {given!r:.60}")
        said = given.get("role")
        role = ROLES.get(said) if isinstance(said, str) else None
        if role is None:
            raise DataError(f"{where} has role {given.get('role')!r}: one of {', '.join(ROLES)}")
        message: dict[str, Any] = {"role": role, "content": self._text(given, where)}
        if role == "assistant":
            calls = _calls(given, where)
            if calls:
                message["tool_calls"] = [self._numbered(call) for call in calls]
            if own and given.get("weight") != 0:
                self.said.append(len(self.messages))
            else:
                message["weight"] = 0  # shown, not to be learned, as OpenAI's sets have it
        elif role == "tool":
            message["tool_call_id"] = self._answered(given, where)
            error = given.get("error")  # inspect_ai's
            if not message["content"] and isinstance(error, Mapping):
                message["content"] = str(error.get("message") or "")
        if isinstance(given.get("name"), str) and role != "assistant":
            message["name"] = given["name"]
        self.messages.append(message)

    def _text(self, given: Mapping[str, Any], where: str) -> str:
        content, thoughts = given.get("content"), ""
        if isinstance(content, str):
            text = content
        elif content is None:
            refusal = given.get("refusal")
            text = refusal if isinstance(refusal, str) else ""
        elif isinstance(content, Sequence):
            text, thoughts = _parts(content, where)
        else:
            raise DataError(f"{where}: content is neither a text nor parts: {content!r:.60}")
        reasoning = next(
            (v for name in REASONING if isinstance(v := given.get(name), str) and v), ""
        )
        thoughts = reasoning or thoughts
        if thoughts and "<think>" not in text:
            text = f"{OPEN}{thoughts.strip()}{SHUT}{text}"
        return text

    def _numbered(self, call: tuple[str, str, Any]) -> dict[str, Any]:
        given, name, arguments = call
        own = call_id(self._calls)
        self._calls += 1
        if given:
            self._ids[given] = own
        self._open.append(own)
        return {"id": own, "type": "function", "function": {"name": name, "arguments": arguments}}

    def _answered(self, given: Mapping[str, Any], where: str) -> str:
        """Which call a result is of: by its id, else the first that has none yet."""
        call_id = given.get("tool_call_id")
        own = self._ids.get(call_id) if isinstance(call_id, str) else None
        if own is None and call_id and self._ids:
            raise DataError(f"{where} is the result of call {call_id!r}, which was never made")
        if own is None:
            if not self._open:
                raise DataError(f"{where} is a tool's result, and no call waits for one")
            own = self._open[0]
        if own in self._open:
            self._open.remove(own)
        return own


def _parts(content: Sequence[Any], where: str) -> tuple[str, str]:
    """The text and the thoughts of a list of parts."""
    texts, thoughts = [], []
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else "text"
        text = part.get("text") if isinstance(part, Mapping) else part
        if kind in (*TEXTS, None) and isinstance(text, str):
            texts.append(text)
        elif kind in THOUGHTS and isinstance(part.get(THOUGHTS[kind]), str):
            thoughts.append(part[THOUGHTS[kind]])
        elif kind == "refusal" and isinstance(part.get("refusal"), str):
            texts.append(part["refusal"])
        else:
            raise DataError(f"{where} has a part of type {kind!r}: only text is read")
    return "".join(texts), "\n".join(thoughts)


def _calls(given: Mapping[str, Any], where: str) -> list[tuple[str, str, Any]]:
    """(id, name, arguments) of the calls of an assistant message."""
    listed = given.get("tool_calls")
    if not listed and isinstance(given.get("function_call"), Mapping):
        listed = [{"function": given["function_call"]}]
    if isinstance(listed, str):
        listed = _json(listed, f"{where}: tool_calls")
    if listed is not None and not isinstance(listed, list):
        raise DataError(f"{where}: tool_calls is no list: {listed!r:.60}")
    out = []
    for call in listed or []:
        call = _json(call, f"{where}: a tool call") if isinstance(call, str) else call
        inner = call.get("function") if isinstance(call, Mapping) else None
        held = inner if isinstance(inner, Mapping) else call
        name = held.get("name") if isinstance(held, Mapping) else None
        name = inner if isinstance(inner, str) else name
        if not isinstance(name, str) or not name:
            raise DataError(f"{where}: a tool call names no function: {call!r:.80}")
        call_id = call.get("id") or call.get("tool_call_id")
        out.append((call_id if isinstance(call_id, str) else "", name, arguments_of(held)))
    return out


def _json(text: str, what: str) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        raise DataError(f"{what} is text that is no JSON: {text!r:.60}") from error


def arguments_of(held: Mapping[str, Any]) -> Any:
    """The arguments of a call as an object; as text where that is no JSON object."""
    arguments = held.get("arguments", held.get("input"))
    if arguments is None or arguments == "":
        return {}
    if isinstance(arguments, str):
        try:
            read = parse_json(arguments)
        except ValueError:
            return arguments
        return read if isinstance(read, dict) else arguments
    return (
        dict(arguments)
        if isinstance(arguments, Mapping)
        else json.dumps(arguments, ensure_ascii=False)
    )


def conversation(messages: Any, own: bool = True) -> Conversation:
    """The messages of a list. Raises `DataError` where there is none, or one cannot be read."""
    out = Conversation()
    extend(out, messages, own)
    return out


def extend(out: Conversation, messages: Any, own: bool = True) -> None:
    """Read more messages into a conversation; a text alone is the user's, or the agent's."""
    if isinstance(messages, str):
        role = "assistant" if own and out.messages else "user"
        messages = [{"role": role, "content": messages}]
    if not isinstance(messages, list):
        raise DataError(f"a list of messages is expected, not {messages!r:.60}")
    for message in messages:
        out.add(message, own)


def needs_said(out: Conversation) -> Conversation:
    """The same conversation; `DataError` where nothing is said in it."""
    if not out.messages:
        raise DataError("the conversation is empty")
    if not out.said:
        raise DataError("no message of an assistant: nothing is said")
    if out.said[0] == 0:
        raise DataError("the first message is the assistant's: nothing was asked")
    return out
