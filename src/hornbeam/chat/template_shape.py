"""The shape of a conversation: what a template's handling of it depends on, apart from texts."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from hornbeam.chat.byte_chat import Message
from hornbeam.chat.template_frame import mark

LISTED = re.compile(
    r"['\"]type['\"]: ['\"]text['\"], ['\"]text['\"]: ['\"][^'\"]*"
)  # parts in print
Shape = tuple[tuple[str, bool, str], ...]  # role, whether there is text, what else: of each message


def shape(messages: Sequence[Message]) -> Shape:
    """What a template's handling of a conversation depends on, apart from the texts."""
    seen: dict[str, str] = {}  # ids of calls
    return tuple(
        (m["role"], bool((m["content"] or "").strip()), _more(_alike(m, seen))) for m in messages
    )


def _alike(message: Message, seen: dict[str, str]) -> Message:
    """The message with ids of calls that are alike in all conversations, and one argument."""
    if not ("tool_calls" in message or "tool_call_id" in message):
        return message
    out = dict(message)
    if "tool_call_id" in out:
        out["tool_call_id"] = seen.setdefault(str(out["tool_call_id"]), f"call{len(seen):05}")
    calls = []
    for call in out.get("tool_calls") or []:
        named = {"name": call.get("function", call).get("name"), "arguments": {"key": "x"}}
        own = seen.setdefault(str(call.get("id", "")), f"call{len(seen):05}")
        calls.append({"id": own, "type": "function", "function": named})
    return {**out, **({"tool_calls": calls} if calls else {})}


def _more(message: Message) -> str:
    more = {key: value for key, value in message.items() if key not in ("role", "content")}
    return json.dumps(more, sort_keys=True, ensure_ascii=False) if more else ""


def nonce_in(messages: Sequence[Message]) -> str:
    """What sets our marks apart from any that a message might hold."""
    return nonce_of("".join((m["content"] or "") + _more(m) for m in messages))


def nonce_of(held: str) -> str:
    """The same for one text."""
    if "\ue000" not in held and "\ue002" not in held:
        return ""
    marks = [(n, f"\ue000{n}:", f"\ue002{n}:") for n in map(str, range(len(held)))]
    return next(n for n, answer, name in marks if answer not in held and name not in held)


def lost_of(message: Message, n: int, text: str) -> str:
    """What of a message is not in the rendered text; "" where all of it is."""
    who = f"message {n + 1} ({message['role']})"
    if message["content"] and mark(n) not in LISTED.sub("", text):
        return who
    for call in message.get("tool_calls") or []:
        held = call.get("function", call) if isinstance(call, dict) else {}
        if isinstance(held, dict) and str(held.get("name", "")) not in text:
            return f"the tool calls of {who}"
    return ""
