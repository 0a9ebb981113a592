"""An agent that works by commands, one a reply, until it answers or says that it is done.

user       ash bay attic/ : in the file with coin replace lamp by harp
assistant  grep coin
user       attic/elm
assistant  sub attic/elm lamp harp
user       ok
assistant  done

A command is a name and words behind it, so a model needs neither brackets nor JSON. What is judged
is the answer, or, behind `done`, what the tool `state` says of the world as it is left.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import Field, model_validator

from hornbeam.chat import assistant, user
from hornbeam.episode.program import Episode
from hornbeam.errors import DataError, ToolError
from hornbeam.programs.talk import Demonstration, Turn, opening
from hornbeam.protocols import Program
from hornbeam.settings import Settings
from hornbeam.tree.task import Task


class Commands(Settings):
    """`commands` are tools with the parameters that the words behind a name stand for, in order.

    The last parameter takes the rest of the line. Words may be missing where the tool has defaults.
    `answer` and `done` are the words that end an episode; `state` is the tool behind `done`. A
    result that stands in `over` ends it too, and is the answer.
    """

    agent: str = "solver"
    commands: dict[str, tuple[str, ...]] = Field(min_length=1)
    state: str = ""
    answer: str = "answer"
    done: str = "done"
    over: tuple[str, ...] = ()
    system: str = ""
    max_turns: int = Field(8, ge=1)

    @model_validator(mode="after")
    def _check(self) -> Commands:
        for name in self.commands:
            if len(name.split()) != 1 or name in (self.answer, self.done):
                raise ValueError(f"{name!r} cannot be the name of a command here")
        return self

    @property
    def hint(self) -> str:
        """What the agent is told of a reply without a command."""
        ends = [self.answer, *([self.done] if self.state else [])]
        return f"error: begin with {', '.join(self.commands)} or {' or '.join(ends)}"


def commands(settings: Commands) -> Program:
    """The program: returns the answer, the state, or None when the turns are used up."""

    async def run(task: Task, ep: Episode) -> Any:
        messages = opening(settings.system, (), task.question)
        for _ in range(settings.max_turns):
            reply = await ep.ask(settings.agent, messages)
            name, _, rest = reply.text.strip().partition("\n")[0].strip().partition(" ")
            if name == settings.answer:
                return rest.strip()
            if name == settings.done and settings.state:
                return await _heard(ep, settings.state, {})
            heard = await _obeyed(settings, ep, name, rest)
            if heard in settings.over:
                return heard
            messages += [assistant(reply.text), user(heard)]
        return None

    return run


async def _obeyed(settings: Commands, ep: Episode, name: str, rest: str) -> str:
    """What the agent is told of its command."""
    if name not in settings.commands:
        return settings.hint
    parameters = settings.commands[name]
    if not parameters and rest.strip():
        return f"error: {name} takes no words"
    words = rest.split(None, len(parameters) - 1) if parameters else []
    return await _heard(ep, name, dict(zip(parameters, map(str.strip, words))))


async def _heard(ep: Episode, tool: str, arguments: dict[str, str]) -> str:
    try:
        result = await ep.call(tool, **arguments)
    except ToolError as error:
        return f"error: {error}"
    return result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)


def commands_demonstration(settings: Commands) -> Demonstration:
    """The task's `data["demonstration"]`: pairs of a command and what is heard of it."""

    def turns(task: Task) -> list[Turn]:
        if "demonstration" not in task.data:
            raise DataError(f"task {task.id} has no data.demonstration to show commands of")
        messages = opening(settings.system, (), task.question)
        out: list[Turn] = []
        for said, heard in task.data["demonstration"]:
            out.append(Turn([*messages], said, settings.agent))
            messages += [assistant(said), user(heard)]
        return out

    return turns
