"""Tool calls, results and definitions as text, for chat templates that have no place for them.

The text is that of Qwen2.5's own template (and of Hermes before it): definitions behind the system
message, a call as JSON between tags behind what was said with it, results as a user's message.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hornbeam.chat.byte_chat import Message
from hornbeam.errors import ModelError, ToolError
from hornbeam.tree.nodes import Tree

AS_TEXT = "tools_as_text"  # in a task's data: what its steps say holds their calls
OPENS = "<tool_call>"
FORM = '{"name": "...", "arguments": {...}}'
CALL = f"{OPENS}\n"
RESULT = "<tool_response>\n"
HINT = "`hornbeam import FILE --tools-as-text` writes calls and results as text"
SYSTEM = (
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are"
    " provided with function signatures within <tools></tools> XML tags:\n<tools>\n{}\n</tools>\n\n"
    "For each function call, return a json object with function name and arguments within"
    " <tool_call></tool_call> XML tags:\n<tool_call>\n"
    '{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'
)


def call_text(name: str, arguments: Any) -> str:
    """One call; arguments that are no JSON object stand as a JSON text.

    >>> print(call_text("add", {"a": 2}))
    <tool_call>
    {"name": "add", "arguments": {"a": 2}}
    </tool_call>
    """
    return f"{CALL}{_json({'name': name, 'arguments': arguments})}\n</tool_call>"


def result_text(content: str) -> str:
    """What one call brought back."""
    return f"{RESULT}{content}\n</tool_response>"


def tools_text(tools: Sequence[Any]) -> str:
    """What a system message says of the tools, and of how they are called."""
    return SYSTEM.replace("{}", "\n".join(map(_json, tools)))


def system_text(tools: Sequence[Any], text: str = "") -> str:
    """A system message of this text that tells of the tools, as imported chats have it."""
    return "\n\n".join(part for part in (text, tools_text(tools) if tools else "") if part)


def read_calls(text: str) -> list[tuple[str, dict[str, Any]]]:
    """(name, arguments) of the calls in a reply, none where there are none.

    What stands between the tags is read as JSON, so a text in it may hold tags, and the last call
    may lack its closing tag, where a stop string took it. Raises `ToolError`, to be shown to the
    agent, for a call that cannot be read.

    >>> read_calls("Let me see." + call_text("add", {"a": 2}))
    [('add', {'a': 2})]
    """
    out, at = list[tuple[str, dict[str, Any]]](), 0
    while (begins := text.find(OPENS, at)) >= 0:
        start = begins + len(OPENS)
        start += len(text[start:]) - len(text[start:].lstrip())
        try:
            data, at = json.JSONDecoder().raw_decode(text, start)
        except (ValueError, RecursionError) as error:
            raise ToolError(f"{OPENS} number {len(out) + 1} holds no JSON: {error}") from error
        name = data.get("name") if isinstance(data, dict) else None
        arguments = data.get("arguments", {}) if isinstance(data, dict) else None
        if not isinstance(name, str) or not isinstance(arguments, dict):
            raise ToolError(f"{OPENS} number {len(out) + 1}: {FORM} is expected")
        out.append((name, arguments))
    return out


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def calls_in_text(tree: Tree) -> bool:
    """Whether the calls of a tree's nodes stand in their texts, the results in messages."""
    return bool((tree.task.get("data") or {}).get(AS_TEXT))


def uses_tools(messages: Sequence[Message], tools: Sequence[Any] = ()) -> bool:
    """Whether tools are told of, called, or heard in a conversation, as other than text."""
    return bool(tools) or any(m["role"] == "tool" or m.get("tool_calls") for m in messages)


def hinted(error: ModelError, messages: Sequence[Message], tools: Sequence[Any] = ()) -> ModelError:
    """A template's refusal with what to do behind it, where the conversation uses tools."""
    return ModelError(f"{error}; {HINT}") if uses_tools(messages, tools) else error
