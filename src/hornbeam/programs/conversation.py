"""The messages of a conversation as they are, answered once: a bare model as a program."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from hornbeam.chat import ToolCall
from hornbeam.episode.program import Episode, Reply
from hornbeam.programs.talk import Answer, read_answer
from hornbeam.protocols import Program
from hornbeam.tools.schema import name_of
from hornbeam.tree.task import Task


def conversation(agent: str, answer: Answer) -> Program:
    """The program: `agent` answers `task.data["messages"]`, sampled as `data["sampling"]` says.

    What it says is read as `answer` tells; None where it holds none. Offered `data["tools"]` it may
    call them: the answer is then {"answer", "text", "calls"}, "answer" the same for equal calls.
    """

    async def run(task: Task, ep: Episode) -> Any:
        sampling = task.data.get("sampling", {})
        tools = task.data.get("tools", ())
        reply = await ep.ask(agent, task.data["messages"], tools=tools, **sampling)
        if calls := sound_calls(reply):
            said = json.dumps([[call.name, call.arguments] for call in calls], sort_keys=True)
            made = [{"name": call.name, "arguments": call.raw.strip() or "{}"} for call in calls]
            return {"answer": said, "text": reply.content, "calls": made}
        return read_answer(answer, before_stop(reply.text, sampling.get("stop", ())))

    return run


def sound_calls(reply: Reply) -> Sequence[ToolCall]:
    """The calls of a reply where all can be made: read, of tools that were offered, not cut off."""
    offered = {name_of(schema) for schema in reply.tools}
    sound = all(not call.problem and call.name in offered for call in reply.calls)
    return reply.calls if sound and reply.finish != "length" else ()


def before_stop(text: str, stop: Iterable[str]) -> str:
    """The text up to the first of the stop strings, which end a sample and are still in it."""
    places = [place for mark in stop if (place := text.find(mark)) >= 0]
    return text[: min(places)] if places else text
