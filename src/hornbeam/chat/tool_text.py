"""Tool calls, results and definitions as text, for chat templates that have no place for them.

The text is that of Qwen2.5's own template (and of Hermes before it): definitions behind the system
message, a call as JSON between tags behind what was said with it, results as a user's message.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hornbeam.chat.byte_chat import Message
from hornbeam.errors import ModelError
from hornbeam.tree.nodes import Tree

AS_TEXT = "tools_as_text"  # in a task's data: what its steps say holds their calls
CALL = "<tool_call>\n"
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
