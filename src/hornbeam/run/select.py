"""Data selection: of each task's correct answers the one whose steps are judged best (StepWiser).

Or one at random, for a set of equal size that looks at outcomes only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from hornbeam.chat import Chat, TemplateChat
from hornbeam.errors import DataError
from hornbeam.programs import make_program
from hornbeam.run.chunks import correct
from hornbeam.run.recipe import Recipe
from hornbeam.run.sftset import set_line
from hornbeam.run.transcript import transcript
from hornbeam.run.wire import Say, model_folders
from hornbeam.tree import Tree

Chosen = tuple[Tree, int]


def mean_score(tree: Tree, leaf: int, column: str) -> float | None:
    """Mean of a column over the steps of a path; steps without an entry do not count."""
    values = [v for i in tree.path(leaf) if (v := tree.columns[column][i]) is not None]
    return math.fsum(values) / len(values) if values else None


def choose(
    trees: Iterable[Tree], column: str | None, by: str = "score", seed: int = 0
) -> tuple[list[Chosen], dict[str, int]]:
    """(tree, leaf) of one correct answer a task, and how many tasks there were of each kind.

    By "score" the one of highest mean of `column` over its steps, the first of equals; by "outcome"
    one drawn from the seed. Answers without any score are passed over where a column is named, so
    both choose for the same tasks. Raises `DataError` where a tree has no such column.
    """
    tasks: dict[str, list[tuple[Chosen, float]]] = {}
    solved = set()
    for tree in trees:
        name = str(tree.task.get("id"))
        if column is not None and column not in tree.columns:
            raise DataError(f"the tree of task {name!r} has no column {column!r}")
        answers = tasks.setdefault(name, [])
        for leaf in correct(tree):
            solved.add(name)
            score = 0.0 if column is None else mean_score(tree, leaf, column)
            if score is not None:
                answers.append(((tree, leaf), score))
    chosen = []
    for name, answers in tasks.items():
        if answers and by == "outcome":
            chosen.append(Random(f"{seed}:{name}").choice(answers)[0])
        elif answers:
            chosen.append(max(answers, key=lambda answer: answer[1])[0])  # the first of equals
    counts = {
        "tasks": len(tasks),
        "chosen": len(chosen),
        "unsolved": len(tasks) - len(solved),
        "unscored": len(solved) - len(chosen),
        "answers": sum(map(len, tasks.values())),
    }
    if not chosen:
        raise DataError(
            f"of {len(tasks)} tasks {len(solved)} have a correct answer (reward 1), and none has a"
            " score: nothing to choose from"
        )
    return chosen, counts


async def set_of(recipe: Recipe, base: Path, chosen: Sequence[Chosen], say: Say) -> list[str]:
    """The lines of an SFT set: every ask of these answers, its messages as the program put them."""
    from transformers import AutoTokenizer

    program, _ = make_program(recipe.program.name, recipe.program.rest(), base)
    chats: dict[str, Chat] = {}
    with TemporaryDirectory() as scratch:
        for name, folder in model_folders(recipe, Path(scratch) / "model", say).items():
            tokenizer: Any = AutoTokenizer.from_pretrained(folder)
            part = recipe.of(name)
            chats |= dict.fromkeys(part.agents, TemplateChat(tokenizer, part.model.name))
    lines = []
    for tree, leaf in chosen:
        turns = await transcript(program, recipe.limits, chats, tree, leaf)
        lines += [set_line(messages, reply) for messages, reply in turns]
    return lines
