"""The world of bench/resume.py: an untrained model is right half of the time, and tools are slow.

The tool sleeps for a random time, so results never come in the same order twice, and notes each
call in a file of its own, which tells what was really run, whatever a store says.
"""

from __future__ import annotations

import asyncio
import os
import random

from hornbeam.chat import Message, assistant, user
from hornbeam.episode.program import Episode
from hornbeam.tree.task import Task
from hornbeam.workers.local_workers import pure

TURNS = 3
LOG = "HORNBEAM_RESUME_LOG"  # the variable that names the file


def note(text: str) -> None:
    """Append to the file at once: what is written there outlives a kill."""
    with open(os.environ[LOG], "a", encoding="utf-8") as stream:
        stream.write(text + "\n")


@pure  # so that no call is made again to see whether it keeps state: all calls are counted
async def look(text: str) -> str:
    """Even or odd, after a while."""
    note("begin")
    await asyncio.sleep(random.uniform(0.02, 0.12))
    note("end")
    return "odd" if sum(text.encode()) % 2 else "even"


async def walk(task: Task, ep: Episode) -> str:
    """One call, then three asks and calls; right where the last result is the first."""
    first = result = await ep.call("look", text=task.question)
    messages: list[Message] = [user(task.question)]
    for _ in range(TURNS):
        reply = await ep.ask("walker", messages)
        result = await ep.call("look", text=reply.text)
        messages += [assistant(reply.text), user(result)]
    return str(task.answer) if result == first else ""


def demonstration(task: Task) -> list[tuple[list[Message], str]]:
    """Something to say, for the warm start."""
    return [([user(task.question)], "left")]
