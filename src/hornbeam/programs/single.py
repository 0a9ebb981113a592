"""A single answer: one agent, one question, one reply."""

from __future__ import annotations

from typing import Any

from hornbeam.episode.program import Episode
from hornbeam.errors import DataError
from hornbeam.programs.talk import (
    Answer,
    Demonstration,
    Example,
    Turn,
    opening,
    read_answer,
)
from hornbeam.protocols import Program
from hornbeam.settings import Settings
from hornbeam.tree.task import Task


class Single(Settings):
    """One reply to the question."""

    agent: str = "solver"
    system: str = ""
    examples: tuple[Example, ...] = ()
    answer: Answer = ""  # "" the whole reply, "number" what it ends on, else a regex's group


def single(settings: Single) -> Program:
    """The program: ask once and return the answer, None where the reply holds none."""

    async def run(task: Task, ep: Episode) -> Any:
        messages = opening(settings.system, settings.examples, task.question)
        reply = await ep.ask(settings.agent, messages)
        return read_answer(settings.answer, reply.text)

    return run


def single_demonstration(settings: Single) -> Demonstration:
    """Says the task's worked solution where it has one, else its answer."""

    def turns(task: Task) -> list[Turn]:
        accepted = task.answer[0] if isinstance(task.answer, list) and task.answer else task.answer
        gold = task.data.get("solution") or accepted
        if gold is None:
            raise DataError(f"task {task.id} has neither an answer nor data.solution to show")
        if read_answer(settings.answer, str(gold)) is None:
            raise DataError(f"task {task.id}: answer = {settings.answer!r} finds none in {gold!r}")
        messages = opening(settings.system, settings.examples, task.question)
        return [Turn(messages, str(gold), settings.agent)]

    return turns
