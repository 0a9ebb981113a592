"""Two agents of the tiny world (`hornbeam.tasks.lookup_world`): one sends the other on errands.

The guide reads a note and names a door. The seeker goes through it and on, door after door, until
he stands before the treasure or at a *crossing*, a room with one of the first `crossings` signs;
what he finds there is all that the guide hears, who then names the next door. So neither gets
anywhere alone, and how many errands there are depends on the way taken.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from hornbeam.chat import assistant, user
from hornbeam.episode.program import Episode
from hornbeam.programs.talk import Demonstration, Turn
from hornbeam.protocols import Program
from hornbeam.settings import Settings
from hornbeam.tasks.lookup_world import SIGNS, doors
from hornbeam.tasks.lookup_world import lookup as lookup_note
from hornbeam.tree.task import Task


class Errand(Settings):
    """Names of the two agents, and how many of the signs mark a crossing."""

    agent: str = "guide"
    sub: str = "seeker"
    crossings: int = Field(6, ge=0, le=len(SIGNS))

    def reports(self, note: str) -> bool:
        """Whether the seeker comes back with this note."""
        return not doors(note) or note.split()[-1] in SIGNS[: self.crossings]


def errand(settings: Errand) -> Program:
    """The program: the last note is the answer, "" where somebody named no door."""

    async def seek(task: Task, ep: Episode) -> str:
        note = str(await ep.call("lookup", key=task.question))
        messages = [user(note)]
        while behind := doors(note):
            reply = await ep.ask(settings.sub, messages)
            key = behind.get(reply.text.strip())
            if key is None:
                return ""
            note = str(await ep.call("lookup", key=key))
            if settings.reports(note):
                break
            messages += [assistant(reply.text), user(note)]
        return note

    async def run(task: Task, ep: Episode) -> str:
        messages = [user(task.question)]
        note = task.question
        while behind := doors(note):
            reply = await ep.ask(settings.agent, messages)
            key = behind.get(reply.text.strip())
            if key is None:
                return ""
            note = await ep.delegate(settings.sub, seek, Task(task.id, key))
            messages += [assistant(reply.text), user(note)]
        return note

    return run


def errand_demonstration(settings: Errand) -> Demonstration:
    """What two demonstrators say who know a part of the rule and guess the rest."""

    def turns(task: Task) -> list[Turn]:
        taken = iter(task.data["demonstration"])
        out: list[Turn] = []
        note, messages = task.question, [user(task.question)]
        while doors(note):
            door, note = _through(task, note, taken)
            out.append(Turn([*messages], door, settings.agent))
            note = sought(task, note, taken, out)
            messages += [assistant(door), user(note)]
        return out

    def sought(task: Task, note: str, taken: Iterator[str], out: list[Turn]) -> str:
        messages = [user(note)]
        while doors(note):
            door, note = _through(task, note, taken)
            out.append(Turn([*messages], door, settings.sub))
            if settings.reports(note):
                break
            messages += [assistant(door), user(note)]
        return note

    return turns


def _through(task: Task, note: str, taken: Iterator[str]) -> tuple[str, str]:
    """The next door taken, and the note behind it."""
    door = next(taken)
    return door, lookup_note(task, doors(note)[door])
