"""A main agent that plans and answers, and sub-agents with tools that find out what it asks.

main       ASK[Where was Ann born?] ASK[Where was Bob born?]
two subs   SEARCH[Ann born] ... Answer[Ely]     SEARCH[Bob born] ... Answer[Rye]     (at once)
main       Answer[not in the same town]

Every sub-question is a delegation: a scope of its own, in which agent `sub.agent` speaks.
"""

from __future__ import annotations

import asyncio
from functools import cached_property
from itertools import islice
from typing import Any

from pydantic import Field, model_validator

from hornbeam.chat import assistant, user
from hornbeam.episode.program import Episode
from hornbeam.errors import DataError, PromptTooLong
from hornbeam.programs.calls import React, ToolName, calls, hint, observe, read_move
from hornbeam.programs.react import react
from hornbeam.programs.talk import Demonstration, Example, Turn, opening
from hornbeam.protocols import Program
from hornbeam.settings import Settings
from hornbeam.tree.task import Task

SYSTEM = "Write ASK[question] to have facts found out. When you know the answer: Answer[...]."


class Delegate(Settings):
    """`ask` is what the main agent writes to delegate, at most `at_once` times in a reply.

    `result` is what it hears of each, in the order asked. `sub` are settings of `react`, the
    sub-agents' program, whose answer is the result.
    """

    agent: str = "main"
    system: str = SYSTEM
    examples: tuple[Example, ...] = ()
    ask: str = "ASK"
    answer: str = "Answer[{}]"
    result: str = "Result: {}"
    max_turns: int = Field(4, ge=1)
    at_once: int = Field(4, ge=1)
    sub: React = React(agent="sub")

    @model_validator(mode="after")
    def _check(self) -> Delegate:
        if self.moves.agent == self.sub.agent:
            raise ValueError(f"agent and sub.agent are both {self.agent!r}: give each its own name")
        return self

    @cached_property
    def moves(self) -> React:
        """How the main agent's replies are read: a sub-agent is called as a tool is."""
        tools = {self.ask: ToolName(tool=self.sub.agent, argument="question")}
        return React(agent=self.agent, tools=tools, answer=self.answer, observation=self.result)


def delegate(settings: Delegate) -> Program:
    """The program: returns the main agent's answer, or None when its turns are used up."""
    sub, most = react(settings.sub), settings.at_once

    async def find(task: Task, ep: Episode, question: str) -> str:
        try:
            found = await ep.delegate(settings.sub.agent, sub, Task(task.id, question))
        except PromptTooLong as error:
            return f"error: {error}"
        return observe(settings.moves, "error: nothing was found out" if found is None else found)

    async def run(task: Task, ep: Episode) -> Any:
        messages = opening(settings.system, settings.examples, task.question)
        for _ in range(settings.max_turns):
            reply = await ep.ask(settings.agent, messages)
            name, inside = read_move(settings.moves, reply.text)
            if name == "answer":
                return inside
            asked = asks(settings, reply.text) if name else []
            answers = await asyncio.gather(*(find(task, ep, each) for each in asked[:most]))
            answers += [f"error: at most {most} questions at once"] * (len(asked) > most)
            said = "\n".join(answers) or hint(settings.moves)
            messages += [assistant(reply.text), user(said)]
        return None

    return run


def asks(settings: Delegate, text: str) -> list[str]:
    """The sub-questions of a reply, in order; one more than `at_once` if there are more."""
    asked = islice(calls((settings.ask,), text), settings.at_once + 1)
    return [inside.strip() for _, _, inside in asked]


def delegate_demonstration(settings: Delegate) -> Demonstration:
    """Acts out `data["plan"]`: rounds of steps with `question`, `query`, `found` and `answer`.

    The sub-agent calls the first of its tools with the query, hears what was found and answers.
    """
    sub, name = settings.sub, next(iter(settings.sub.tools), "")

    def turns(task: Task) -> list[Turn]:
        if "plan" not in task.data:
            raise DataError(f"task {task.id} has no data.plan to make a demonstration from")
        messages = opening(settings.system, settings.examples, task.question)
        out: list[Turn] = []
        for steps in task.data["plan"]:
            said = " ".join(f"{settings.ask}[{step['question']}]" for step in steps)
            out.append(Turn([*messages], said, settings.agent))
            for step in steps:
                before = opening(sub.system, sub.examples, step["question"])
                call = f"{name}[{step['query']}]"
                then = [*before, assistant(call), user(observe(sub, step["found"]))]
                done = sub.answer.replace("{}", step["answer"])
                out += [Turn(before, call, sub.agent), Turn(then, done, sub.agent)]
            answers = "\n".join(observe(settings.moves, step["answer"]) for step in steps)
            messages += [assistant(said), user(answers)]
        gold = task.answer[0] if isinstance(task.answer, list) else task.answer
        last = settings.answer.replace("{}", str(gold))
        return [*out, Turn(messages, last, settings.agent)]

    return turns
