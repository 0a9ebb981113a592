"""The world of bench/kills.py: two asks at once, then a tool, twice; nothing in it takes time."""

from __future__ import annotations

import asyncio

from hornbeam.chat import Message, assistant, user
from hornbeam.episode.program import Episode
from hornbeam.tree.task import Task

TURNS = 2
AGENTS = ("asks", "tells")  # of the trainers that share a database


def look(text: str) -> str:
    """Even or odd."""
    return "odd" if sum(text.encode()) % 2 else "even"


async def walk(task: Task, ep: Episode) -> str:
    """A look, then turns of two asks and a look; right where the last result is the first."""
    first = result = await ep.call("look", text=task.question)
    messages: list[Message] = [user(task.question)]
    for _ in range(TURNS):
        other = [*messages[:1], user(result)]
        one, two = await asyncio.gather(ep.ask("walker", messages), ep.ask("walker", other))
        result = await ep.call("look", text=one.text + two.text)
        messages += [assistant(one.text), user(result)]
    return str(task.answer) if result == first else ""


async def relay(task: Task, ep: Episode) -> str:
    """The same, said by two policies in turn."""
    first = result = await ep.call("look", text=task.question)
    messages: list[Message] = [user(task.question)]
    for agent in AGENTS:
        reply = await ep.ask(agent, messages)
        result = await ep.call("look", text=reply.text)
        messages += [assistant(reply.text), user(result)]
    return str(task.answer) if result == first else ""


def demonstration(task: Task) -> list[tuple[list[Message], str, str]]:
    """Something to say, for the warm start."""
    return [([user(task.question)], "left", agent) for agent in ("walker", *AGENTS)]
