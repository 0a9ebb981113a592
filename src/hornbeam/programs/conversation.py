"""The messages of a conversation as they are, answered once: a bare model as a program."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hornbeam.episode.program import Episode
from hornbeam.programs.talk import Answer, read_answer
from hornbeam.protocols import Program
from hornbeam.tree.task import Task


def conversation(agent: str, answer: Answer) -> Program:
    """The program: `agent` answers `task.data["messages"]`, sampled as `data["sampling"]` says.

    What it says is read as `answer` tells; None where it holds none.
    """

    async def run(task: Task, ep: Episode) -> Any:
        sampling = task.data.get("sampling", {})
        reply = await ep.ask(agent, task.data["messages"], **sampling)
        return read_answer(answer, before_stop(reply.text, sampling.get("stop", ())))

    return run


def before_stop(text: str, stop: Iterable[str]) -> str:
    """The text up to the first of the stop strings, which end a sample and are still in it."""
    places = [place for mark in stop if (place := text.find(mark)) >= 0]
    return text[: min(places)] if places else text
