"""Runs with their tools as text: any chat template takes them (the text: `chat.tool_text`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hornbeam.chat import Message
from hornbeam.chat.tool_text import call_text, result_text, tools_text, uses_tools
from hornbeam.formats.base import Run, calls_of
from hornbeam.tree import Call

HEADS = ("system", "developer")  # who tells of the tools


def as_text(run: Run) -> Run:
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
            told = result_text(message["content"])
            if n + more and given[n + more - 1]["role"] == "tool":
                told = f"{messages.pop()['content']}\n{told}"
            message = {"role": "user", "content": told}
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


def _head(messages: Sequence[Message], tools: Sequence[Any]) -> list[Message]:
    """The message in front that tells of the tools; none where there are none to tell of."""
    if not tools:
        return []
    first: Message = {"role": "system", "content": ""}
    first = messages[0] if messages[0]["role"] in HEADS else first
    told = [text for text in (first["content"], tools_text(tools)) if text]
    return [{**first, "content": "\n\n".join(told)}]


def _said(message: Message) -> Message:
    """An assistant's message with its calls behind what it says."""
    held = [call["function"] for call in message["tool_calls"]]
    told = [call_text(each["name"], each["arguments"]) for each in held]
    text = "\n".join([message["content"], *told] if message["content"] else told)
    return {**{k: v for k, v in message.items() if k != "tool_calls"}, "content": text}
