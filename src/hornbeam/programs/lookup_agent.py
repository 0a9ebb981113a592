"""The agent of the tiny world (`hornbeam.tasks.lookup_world`): it reads notes, looks up doors."""

from __future__ import annotations

from hornbeam.chat import Message, assistant, user
from hornbeam.episode.program import Episode
from hornbeam.programs.talk import Turn
from hornbeam.tasks.lookup_world import doors
from hornbeam.tasks.lookup_world import lookup as lookup_note
from hornbeam.tree.task import Task


async def lookup(task: Task, ep: Episode) -> str:
    """Ask agent "seeker" for one door after another; the last note is the answer.

    A reply that is no door ends the episode with no answer.
    """
    messages = [user(task.question)]
    note = task.question
    while behind := doors(note):
        reply = await ep.ask("seeker", messages)
        key = behind.get(reply.text.strip())
        if key is None:
            return ""
        note = str(await ep.call("lookup", key=key))
        messages += [assistant(reply.text), user(note)]
    return note


def lookup_demonstration(task: Task) -> list[Turn]:
    """What a demonstrator says who knows a part of the rule and guesses the rest."""
    messages: list[Message] = [user(task.question)]
    note, turns = task.question, []
    for door in task.data["demonstration"]:
        turns.append(Turn(list(messages), door, "seeker"))
        note = lookup_note(task, doors(note)[door])
        messages += [assistant(door), user(note)]
    return turns
