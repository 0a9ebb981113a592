"""Plays what a demonstration says, where all that is heard on the way is what it shows."""

from collections.abc import Sequence

import hornbeam as hb
from hornbeam.chat.byte_chat import ByteChat
from hornbeam.errors import EngineError
from hornbeam.programs import make_program
from hornbeam.recipe.recipe import Recipe
from hornbeam.tools import toolsets
from hornbeam.tree.task import Task


def gold_rewards(recipe: Recipe, tasks: Sequence[Task], world) -> list[float | None]:
    """The reward of each task's demonstration by the program, the tools and the world.

    A prompt that no demonstration has fails its episode: its reward is None.
    """
    section = recipe.program
    program, show = make_program(section.name, section.rest() | {"max_turns": 32})
    chat, said = ByteChat(), {}
    for task in tasks:
        for turn in show(task):
            said[chat.decode(chat.render(turn.messages))] = turn.text

    def say(prompt: str, rng) -> str:
        if prompt not in said:
            raise EngineError(f"no demonstration is asked this: {prompt[-80:]!r}")
        return said[prompt]

    tools = {name: tool for table in recipe.tools for name, tool in toolsets[table]().items()}
    trees = hb.grow_trees(
        program,
        tasks,
        {next(iter(recipe.agents)): hb.Scripted(say)},
        hb.Independent(n=1),
        tools=tools,
        world=world,
        score=lambda task, answer: float(answer == task.answer),
    )
    return [tree.columns["reward"][tree.leaves()[0]] for tree in trees]
