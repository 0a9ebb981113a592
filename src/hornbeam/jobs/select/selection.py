"""Data selection: of each task's correct answers the one whose steps are judged best (StepWiser).

Or one at random, for a set of equal size that looks at outcomes only; or all that meet conditions.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from operator import eq, ge, gt, le, lt
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import NamedTuple

from hornbeam.assembly.engines import needs_folder, spoken_in
from hornbeam.assembly.loading import Say, model_folders
from hornbeam.assembly.sft_set import set_line
from hornbeam.assembly.toolset import make_tools
from hornbeam.assembly.transcript import transcript
from hornbeam.chat import Chat, history, message_of
from hornbeam.chat.rendered import between, conversation, goes_on, has_ids, has_text
from hornbeam.chat.tool_text import calls_in_text
from hornbeam.errors import DataError, how_to_write
from hornbeam.jobs.chunks.chunk_set import correct
from hornbeam.programs import make_program
from hornbeam.recipe.recipe import Recipe
from hornbeam.tree.jsonl import json_line
from hornbeam.tree.nodes import Tree, answered

Chosen = tuple[Tree, int]
SIGNS = {">=": ge, "<=": le, ">": gt, "<": lt, "==": eq}


def mean_score(tree: Tree, leaf: int, column: str) -> float | None:
    """Mean of a column over the steps of a path; steps without an entry do not count."""
    values = [v for i in tree.path(leaf) if (v := tree.columns[column][i]) is not None]
    return math.fsum(values) / len(values) if values else None


class Where(NamedTuple):
    """A condition on an answer: `what` is a column at its leaf, "turns" or "tokens" (sampled)."""

    what: str
    sign: str
    bound: float

    @classmethod
    def of(cls, text: str) -> Where:
        """The condition that a text such as "reward>=0.5" says. Raises `DataError`."""
        found = re.fullmatch(r"\s*(\w+)\s*(>=|<=|==|>|<)\s*(\S+)\s*", text)
        try:
            if found:
                return cls(found[1], found[2], float(found[3]))
        except ValueError:
            pass
        raise DataError(f'--where {text!r}: a column, >= <= > < or ==, and a number: "reward>=1"')

    def holds(self, tree: Tree, leaf: int) -> bool:
        """Whether an answer meets it; one without an entry does not."""
        return self.met_by(self._value(tree, leaf))

    def met_by(self, value: float | None) -> bool:
        """Whether a value meets it; none does not."""
        return value is not None and SIGNS[self.sign](value, self.bound)

    def _value(self, tree: Tree, leaf: int) -> float | None:
        if self.what == "turns":
            return tree.nodes[leaf].origin.turn + 1
        if self.what == "tokens":
            return sum(len(tree.nodes[i].tokens) for i in tree.path(leaf))
        if self.what not in tree.columns:
            name = tree.task.get("id")
            raise DataError(
                f"the tree of task {name!r} has no column {self.what!r}{how_to_write(self.what)}"
            )
        return tree.columns[self.what][leaf]


def choose(
    trees: Iterable[Tree],
    column: str | None,
    by: str = "score",
    seed: int = 0,
    wheres: Sequence[Where] = (),
) -> tuple[list[Chosen], dict[str, int]]:
    """(tree, leaf) of the answers that are chosen, and how many tasks there were of each kind.

    Chosen from are correct answers (reward 1), or those that meet all `wheres`. By "score" the one
    of each task with the highest mean of `column` over its steps, the first of equals; by "outcome"
    one drawn from the seed; by "all" every one. Answers without any score are passed over where a
    column is named, so that score and outcome choose for the same tasks. Raises `DataError` where a
    tree has no such column.
    """
    tasks: dict[str, list[tuple[Chosen, float]]] = {}
    solved, rewarded = set(), False
    for tree in trees:
        rewarded = rewarded or "reward" in tree.columns
        name = str(tree.task.get("id"))
        if column is not None and column not in tree.columns:
            raise DataError(
                f"the tree of task {name!r} has no column {column!r}{how_to_write(column)}"
            )
        answers = tasks.setdefault(name, [])
        for leaf in met(tree, wheres) if wheres else correct(tree):
            solved.add(name)
            score = 0.0 if column is None else mean_score(tree, leaf, column)
            if score is not None:
                answers.append(((tree, leaf), score))
    chosen = []
    for name, answers in tasks.items():
        if by == "all":
            chosen += [answer for answer, _ in answers]
        elif answers and by == "outcome":
            chosen.append(Random(f"{seed}:{name}").choice(answers)[0])
        elif answers:
            chosen.append(max(answers, key=lambda answer: answer[1])[0])  # the first of equals
    counts = {
        "tasks": len(tasks),
        "chosen": len(chosen),
        "unsolved": len(tasks) - len(solved),
        "unscored": len(solved) - sum(map(bool, tasks.values())),
        "answers": sum(map(len, tasks.values())),
    }
    if not chosen and not wheres and not rewarded:
        raise DataError(
            "no tree has a column 'reward', which says what answers are correct: write one with"
            " `hornbeam score --rule`, or choose by --where"
        )
    if not chosen:
        wanted = "an answer that meets --where" if wheres else "a correct answer (reward 1)"
        raise DataError(
            f"of {len(tasks)} tasks {len(solved)} have {wanted}, and none has a score: nothing to"
            " choose from"
        )
    return chosen, counts


def met(tree: Tree, wheres: Sequence[Where]) -> list[int]:
    """The leaves of whole answers, failed ones left out, that meet every condition."""
    return [leaf for leaf in answered(tree) if all(where.holds(tree, leaf) for where in wheres)]


def by_texts(tree: Tree) -> bool:
    """Whether what was asked in a tree is known by its texts alone: others recorded it."""
    if any(node.origin.ask for node in tree.nodes):  # a program asked: it says what
        return False
    return any(node.messages for node in tree.nodes) or (has_text(tree) and not has_ids(tree))


def lines_of_texts(tree: Tree, leaf: int) -> list[str]:
    """The lines of a set for an answer of a tree that others recorded.

    Where the tree keeps messages that is one line, the conversation ("messages", "tools"); else
    each answer, behind the question, what was said and what came back.
    """
    path = tree.path(leaf)
    if any(node.messages for node in tree.nodes):
        said = history(tree, leaf)
        calls = sum(len(message.get("tool_calls") or ()) for message in said)
        tools = (tree.task.get("data") or {}).get("tools")
        in_text = calls_in_text(tree)
        row = {"messages": [*said, message_of(tree.nodes[leaf], calls, in_text)]}
        more = {"tools": tools, "agent": tree.nodes[leaf].agent}
        return [json_line({**row, **{key: value for key, value in more.items() if value}})]
    lines, start = [], 0
    for at, i in enumerate(path):
        if at + 1 < len(path) and goes_on(tree, path[at + 1]):
            continue
        first, text = path[start], tree.nodes[path[start]].text
        for above, k in pairwise(path[start : at + 1]):
            text += between(tree.nodes[above], tree.nodes[k]) + tree.nodes[k].text
        start = at + 1
        if text.strip():
            messages, _ = conversation(tree, first)
            lines.append(
                json_line({"messages": messages, "text": text, "agent": tree.nodes[i].agent})
            )
    return lines


async def set_of(
    recipe: Recipe | None, base: Path, chosen: Sequence[Chosen], say: Say
) -> list[str]:
    """The lines of an SFT set: every ask of these answers, its messages as the program put them.

    Of trees that others recorded no recipe is wanted, which may be None then.
    """
    foreign = [by_texts(tree) for tree, _ in chosen]
    if recipe is None or all(foreign):
        return [line for tree, leaf in chosen for line in lines_of_texts(tree, leaf)]
    program, _ = make_program(recipe.program.name, recipe.program.rest(), base)
    tools = make_tools(recipe, base)
    chats: dict[str, Chat] = {}
    with TemporaryDirectory() as scratch:
        model = Path(scratch) / "model"
        folders = model_folders(recipe, model, say) if needs_folder(recipe) else {}
        for name in recipe.names:
            chat = spoken_in(recipe, name, folders.get(name, Path()))
            chats |= dict.fromkeys(recipe.of(name).agents, chat)
    lines = []
    for (tree, leaf), row in zip(chosen, foreign):
        if row:
            lines += lines_of_texts(tree, leaf)
            continue
        turns = await transcript(program, recipe.limits, chats, tree, leaf, tools)
        lines += [set_line(messages, reply) for messages, reply in turns]
    return lines
