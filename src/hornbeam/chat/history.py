"""The conversation of a node that keeps its messages: trees without ids, as imports make them.

Tool calls are numbered along the conversation, so that steps of two runs which differ by the ids of
their calls alone are the same step.
"""

from __future__ import annotations

from typing import Any

from hornbeam.chat.byte_chat import Message
from hornbeam.chat.tool_text import calls_in_text
from hornbeam.errors import DataError
from hornbeam.tree.nodes import Call, Node, Tree

UNREAD = ""  # the name under which arguments stand that are no JSON object, as they were written


def call_id(number: int) -> str:
    """The id of a conversation's call with that number: nine letters and digits, as some want."""
    return f"call{number:05}"


def tool_call(call: Call, number: int) -> dict[str, Any]:
    """A call as an assistant message has it; arguments are an object where they can be read."""
    arguments: Any = dict(call.arguments)
    if set(arguments) == {UNREAD}:
        arguments = arguments[UNREAD]
    named = {"name": call.tool, "arguments": arguments}
    return {"id": call_id(number), "type": "function", "function": named}


def message_of(node: Node, calls: int = 0, in_text: bool = False) -> Message:
    """What a node said as a message, its calls as tool calls; so many came before in it.

    `in_text`: the text holds the calls already (`calls_in_text` of its tree).
    """
    out: dict[str, Any] = {"role": "assistant", "content": node.text}
    if node.calls and not in_text:
        out["tool_calls"] = [tool_call(call, calls + n) for n, call in enumerate(node.calls)]
    return out


def history(tree: Tree, i: int) -> list[Message]:
    """All messages before node i spoke.

    Raises `DataError` where the tree keeps none: what its nodes were asked is in their ids.
    """
    path = [0, *tree.path(i)]
    if not any(tree.nodes[k].messages for k in path):
        raise DataError(
            f"task {tree.task.get('id')!r}: the tree keeps no messages: what was asked is in its"
            " ids (or with the program that grew it)"
        )
    out: list[Message] = []
    calls = 0
    for k in path:
        out += tree.nodes[k].messages
        calls += sum(len(message.get("tool_calls") or ()) for message in tree.nodes[k].messages)
        if 0 < k != i:
            out.append(message_of(tree.nodes[k], calls, calls_in_text(tree)))
            calls += len(tree.nodes[k].calls)
    return out
