"""Tasks for a judge: one for every labelled step of solved problems.

A step labelled 1 is to be called "Positive", one labelled -1 "Negative" (StepWiser, arXiv
2508.19229). Most steps of a fair policy are right, so the larger class is down-sampled: else a
judge that always says "Positive" does well.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from random import Random
from typing import Any, Literal

from pydantic import Field

from hornbeam.chat.tool_text import calls_in_text
from hornbeam.errors import DataError, RecipeError
from hornbeam.files.paths import check_file
from hornbeam.settings import Settings, nearest
from hornbeam.tasks.records import read_records
from hornbeam.tasks.steplabels import from_rows, odd_line, read_steps
from hornbeam.tasks.word_problems import held_out
from hornbeam.tree.jsonl import read_trees
from hornbeam.tree.nodes import Node, Tree
from hornbeam.tree.task import Task

ANSWERS = {1: "Positive", -1: "Negative"}
SPLITS = ("train", "test", "all")


class JudgeOptions(Settings):
    """`options` of task source "judge".

    `column`: 1, -1, or null and 0 for no label. `format`: what the file holds; "processbench" and
    the formats of `tasks.steplabels` are read as well as trees. `balance`: as many tasks of either
    answer. `longest`: steps with more characters of problem, history and step are left out.
    """

    column: str = "label"
    format: Literal["trees", "processbench", "trl", "math-shepherd", "prm800k"] = "trees"
    balance: bool = True
    longest: int | None = Field(None, gt=0)


def step_texts(tree: Tree, i: int) -> tuple[str, str]:
    """(all that was said and came back before node i, what node i says).

    A chunk that goes on with an answer stands close behind the one before it, a step on a new line;
    where several agents speak their names stand before what they say.
    """
    nodes = [tree.nodes[k] for k in tree.path(i)]
    named = len({node.agent for node in nodes}) > 1
    history, said = _heard(tree.nodes[0]), ""
    in_text = calls_in_text(tree)  # what came back is among what a user said
    for above, node in pairwise([tree.nodes[0], *nodes]):
        close = above.finish == "chunk" and node.tokens and not node.prompt
        history += said + ("" if above is tree.nodes[0] or in_text else _heard(above))
        history += _put_in(tree, node)
        history += "" if close or not history else "\n"
        said = f"{node.agent}: {node.text}" if named and not close else node.text
    return history.strip(), said.strip()


def _put_in(tree: Tree, node: Node) -> str:
    """What a user said between two steps, where the tree keeps messages; results are calls'."""
    said = [m["content"] for m in node.messages if m["role"] == "user"]
    return "".join(f"\n{text}" for text in said if text != tree.task.get("question"))


def _heard(node: Node) -> str:
    """What a node's calls brought back, a line each."""
    results = ((call.error and f"error: {call.error}") or call.result for call in node.calls)
    texts = (r if isinstance(r, str) else json.dumps(r, ensure_ascii=False) for r in results)
    return "".join(f"\n{text}" for text in texts)


@dataclass(slots=True)
class _Found:
    """Tasks on their way, and what was left out."""

    tasks: list[Task]
    long: int = 0
    problems: int = 0


def judge_tasks(
    path: Path, options: JudgeOptions, split: str = "train", seed: int | None = None
) -> tuple[list[Task], str]:
    """Tasks of a file of labelled solutions, and in words where they come from.

    `split` goes by a problem's id: a fifth of the problems is "test", with all their steps. Where
    classes are balanced both take turns, in an order drawn from `seed`, so that any even number of
    the first tasks is balanced too; else `seed` shuffles. Raises `DataError` where the column or
    one of the answers is missing.
    """
    if split not in SPLITS:
        raise RecipeError(f"judge tasks have no split {split!r}: {nearest(split, SPLITS)}")
    found = _Found([])
    names: dict[str, int] = {}
    odd: Counter[str] = Counter()
    for number, tree in enumerate(_trees(path, options, odd), 1):
        labels = _labels(tree, options.column, f"{path}, tree {number}")
        name = str(tree.task["id"])
        count = names[name] = names.get(name, 0) + 1
        if split == "all" or held_out(json.dumps(tree.task["id"])) == (split == "test"):
            _add(found, tree, labels, name if count == 1 else f"{name}.{count}", options)
    where = f"column {options.column!r} of split {split!r} of {path}"
    if not found.tasks:
        too_long = f", {found.long} are longer than longest = {options.longest}" * bool(found.long)
        raise DataError(f"no step is left of {where}{too_long}: label more, or take split = 'all'")
    tasks = _ordered(found.tasks, options.balance, seed, where)
    answers = [task.answer for task in tasks]
    counts = ", ".join(f"{answers.count(answer)} {answer}" for answer in ANSWERS.values())
    left = f"; {len(found.tasks) - len(tasks)} left out by balance, {found.long} too long"
    left += odd_line(odd)
    return tasks, f"from the labelled steps of {found.problems} problems ({counts}{left})"


def _trees(path: Path, options: JudgeOptions, odd: Counter[str]) -> Iterable[Tree]:
    check_file(path, "`hornbeam label` writes labelled trees")
    if options.format == "trees":
        return read_trees(path)
    if options.format == "processbench":
        return from_rows(_rated(path), "prm800k", column=options.column, odd=odd)
    return read_steps(path, options.format, column=options.column, odd=odd)


def _rated(path: Path) -> Iterator[dict[str, Any]]:
    """ProcessBench items as rated steps: all before the first wrong one are right."""
    for number, row in read_records(path):
        steps, wrong = row.get("steps"), row.get("label")
        if not isinstance(steps, list) or not isinstance(wrong, int) or "problem" not in row:
            raise DataError(f"{path}, line {number}: 'problem', 'steps' and 'label' are expected")
        if not -1 <= wrong < len(steps):
            raise DataError(
                f"{path}, line {number}: label {wrong} is none of {len(steps)} steps (from 0)"
            )
        right = len(steps) if wrong < 0 else wrong
        ratings = chain([1] * right, [-1] * (wrong >= 0), [None] * len(steps))
        yield {
            "id": row.get("id", ""),
            "question": row["problem"],
            "steps": steps,
            "ratings": [rating for rating, _ in zip(ratings, steps)],
        }


def _labels(tree: Tree, column: str, where: str) -> list[tuple[int, int]]:
    """(node, 1 or -1) of the labelled steps."""
    if column not in tree.columns:
        there = ", ".join(map(repr, tree.columns)) or "none"
        raise DataError(
            f"{where}: no column {column!r} (there are: {there}): name one with options.column, or"
            " make labels with `hornbeam label abs_q FILE`"
        )
    out = []
    for i, value in enumerate(tree.columns[column][1:], 1):
        if value is not None and value not in (-1, 0, 1):
            raise DataError(
                f"{where}: column {column!r} holds {value} at node {i}, and labels are 1, -1 or"
                " null: make some of values with `hornbeam label abs_q FILE`"
            )
        node = tree.nodes[i]
        if value and node.text.strip() and not node.error:
            out.append((i, int(value)))
    return out


def _add(
    found: _Found, tree: Tree, labels: list[tuple[int, int]], name: str, options: JudgeOptions
) -> None:
    question = str(tree.task.get("question", ""))
    found.problems += bool(labels)
    for i, label in labels:
        history, chunk = step_texts(tree, i)
        if options.longest is not None and len(question + history + chunk) > options.longest:
            found.long += 1
            continue
        data = {"history": history, "chunk": chunk}
        found.tasks.append(Task(f"{name}/{i}", question, ANSWERS[label], data))


def _ordered(tasks: list[Task], balance: bool, seed: int | None, where: str) -> list[Task]:
    """The tasks in turns of either answer, or as they are, shuffled where a seed is given."""
    rng = Random(seed or 0)
    if not balance:
        return tasks if seed is None else rng.sample(tasks, len(tasks))
    classes = [[t for t in tasks if t.answer == answer] for answer in ANSWERS.values()]
    least = min(map(len, classes))
    if not least:
        raise DataError(
            f"all {len(tasks)} labelled steps are {tasks[0].answer} in {where}: there is nothing to"
            " balance: label other solutions, or set options.balance = false"
        )
    return list(chain(*zip(*(rng.sample(each, least) for each in classes))))
