"""Runs and trees with their tools as text, which any chat template takes; see `chat.tool_text`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hornbeam.chat import Message, message_of
from hornbeam.chat.tool_text import (
    AS_TEXT,
    call_text,
    calls_in_text,
    result_text,
    system_text,
    uses_tools,
)
from hornbeam.errors import DataError
from hornbeam.formats.recorded_run import ImportedRun, calls_of
from hornbeam.tree.nodes import Call, Placed, Tree, floats, ids

HEADS = ("system", "developer")  # who tells of the tools


def as_text(run: ImportedRun) -> ImportedRun:
    """The run with calls in what was said, results as a user's messages, tools in the system's.

    Results that follow each other are one message. The calls are kept beside the text. Ids that
    the run holds are of another text and left out. A run without tools stays as it is.
    """
    if not uses_tools(run.messages, run.tools):
        return run
    head = _head(run.messages, run.tools)
    given = [*head, *run.messages[1 if head and run.messages[0]["role"] in HEADS else 0 :]]
    more = len(given) - len(run.messages)  # a system message that was not there
    results = {m["tool_call_id"]: m["content"] for m in run.messages if m["role"] == "tool"}
    messages: list[Message] = []
    places: dict[int, int] = {}  # as the run has them -> as they are here
    calls: dict[int, tuple[Call, ...]] = {}
    for n, message in enumerate(given, -more):
        if message["role"] == "tool":
            text = result_text(message["content"])
            if n + more and given[n + more - 1]["role"] == "tool":
                text = f"{messages.pop()['content']}\n{text}"
            message = {"role": "user", "content": text}
        elif message.get("tool_calls"):
            if n in run.said:
                calls[len(messages)] = calls_of(message, results)
            message = _said(message)
        places[n] = len(messages)
        messages.append(message)
    return replace(
        run,
        messages=messages,
        said=[places[n] for n in run.said],
        rewards={places[n]: reward for n, reward in run.rewards.items()},
        calls=calls,
        as_text=True,
        sampled={},
        tools=[],
    )


def tree_as_text(tree: Tree) -> Tree:
    """The same of a tree that others recorded: its nodes and columns stay, ids are left out.

    A tree that keeps no messages, or has no tools in them, stays as it is. Raises `DataError` where
    its runs have different tools.
    """
    data = dict(tree.task.get("data") or {})
    tools = data.pop("tools", [])
    messages = [m for node in tree.nodes for m in node.messages]
    uses = uses_tools(messages, tools) or any(node.calls for node in tree.nodes)
    if (
        not messages
        or not uses
        or calls_in_text(tree)
        or any(node.origin.ask for node in tree.nodes)
    ):
        return tree
    if any("tools" in run for run in data.get("runs") or ()):
        raise DataError("its runs have different tools: import the file that it was made from")
    heads = [0] if tree.nodes[0].messages else tree.children(0)
    out = []
    for i, node in enumerate(tree.nodes):
        put_in = as_text(ImportedRun([*node.messages], [], tools=tools if i in heads else []))
        text = _said(message_of(node))["content"] if node.calls else node.text
        bare = replace(node, messages=tuple(put_in.messages), text=text, tokens=ids())
        bare = replace(bare, logprobs=floats())
        out.append(bare.placed(node.parent, Placed(ids())))
    task = {**tree.task, "data": {**data, AS_TEXT: True}}
    return Tree(task, out, {name: [*column] for name, column in tree.columns.items()}, tree.seed)


def _head(messages: Sequence[Message], tools: Sequence[Any]) -> list[Message]:
    """The message in front that tells of the tools; none where there are none to tell of."""
    if not tools:
        return []
    first: Message = {"role": "system", "content": ""}
    first = messages[0] if messages[0]["role"] in HEADS else first
    return [{**first, "content": system_text(tools, first["content"])}]


def _said(message: Message) -> Message:
    """An assistant's message with its calls behind what it says."""
    held = [call["function"] for call in message["tool_calls"]]
    written = [call_text(each["name"], each["arguments"]) for each in held]
    text = "\n".join([message["content"], *written] if message["content"] else written)
    return {**{k: v for k, v in message.items() if k != "tool_calls"}, "content": text}
