"""A fixed sequence of agents, each of which reads the question and what came before it."""

from __future__ import annotations

from string import Formatter
from typing import Any

from pydantic import model_validator

from hornbeam.chat import system, user
from hornbeam.program import Episode, Program
from hornbeam.programs.talk import Answer, read_answer
from hornbeam.settings import Settings, nearest
from hornbeam.tasks.base import Task


class Stage(Settings):
    """One agent's turn. `prompt` may hold {question} and {name} of every agent before it."""

    agent: str
    prompt: str
    system: str = ""


STAGES = (
    Stage(
        agent="reader",
        prompt="{question}\n\nList the numbers and facts of this problem. Do not solve it.",
    ),
    Stage(
        agent="planner",
        prompt="{question}\n\nFacts:\n{reader}\n\nWrite a short plan of steps. Do not solve it.",
    ),
    Stage(
        agent="solver",
        prompt="{question}\n\nPlan:\n{planner}\n\nFollow the plan. End with #### and the answer.",
    ),
    Stage(
        agent="verifier",
        prompt="{question}\n\nSolution:\n{solver}\n\nCheck it. End with #### and the right answer.",
    ),
)


class Pipeline(Settings):
    """Agents in order; the answer is read off the last one's reply."""

    stages: tuple[Stage, ...] = STAGES
    answer: Answer = r"####\s*([^\n]+)"

    @model_validator(mode="after")
    def _check(self) -> Pipeline:
        if not self.stages:
            raise ValueError("a pipeline needs at least one stage")
        known = ["question"]
        for stage in self.stages:
            for _, field, spec, conversion in Formatter().parse(stage.prompt):
                if field is not None and (field not in known or spec or conversion):
                    raise ValueError(
                        f"the prompt of {stage.agent!r} asks for {{{field}}}: "
                        f"{nearest(field, known)}"
                    )
            if stage.agent in known:
                raise ValueError(f"{stage.agent!r} is used twice: give every stage its own agent")
            known.append(stage.agent)
        return self


def pipeline(settings: Pipeline) -> Program:
    """The program: every stage in turn, then the answer in the last reply or None."""

    async def run(task: Task, ep: Episode) -> Any:
        said = {"question": task.question}
        for stage in settings.stages:
            before = [system(stage.system)] if stage.system else []
            messages = [*before, user(stage.prompt.format(**said))]
            said[stage.agent] = (await ep.ask(stage.agent, messages)).text
        return read_answer(settings.answer, said[settings.stages[-1].agent])

    return run
