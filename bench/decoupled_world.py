"""The world of bench/decoupled.py: that of resume_world.py, spoken by two in turn."""

from __future__ import annotations

from hornbeam.chat import Message, assistant, user
from hornbeam.episode.program import Episode
from hornbeam.tree.task import Task

TURNS = 4
AGENTS = ("asks", "tells")


async def relay(task: Task, ep: Episode) -> str:
    """A look, then turns of an ask and a look; right where the last result is the first."""
    first = result = await ep.call("look", text=task.question)
    messages: list[Message] = [user(task.question)]
    for turn in range(TURNS):
        reply = await ep.ask(AGENTS[turn % 2], messages)
        result = await ep.call("look", text=reply.text)
        messages += [assistant(reply.text), user(result)]
    return str(task.answer) if result == first else ""


def demonstration(task: Task) -> list[tuple[list[Message], str, str]]:
    """Something to say, for the warm start."""
    return [([user(task.question)], "left", agent) for agent in AGENTS]
