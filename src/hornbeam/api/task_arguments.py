"""Tasks as a job is given them from Python: a list, a file, a source; as a recipe has them.

Tasks of a list become a file beside the recipe: `GIVEN_FILES` / train.jsonl, eval.jsonl.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hornbeam.arguments import described, list_of, wrong
from hornbeam.errors import ArgumentError
from hornbeam.files.paths import GIVEN_FILES, check_file
from hornbeam.tasks.task_sources import TaskSettings
from hornbeam.tree.jsonl import read_trees
from hornbeam.tree.nodes import Tree
from hornbeam.tree.task import Task

ENDINGS = (".jsonl", ".jsonl.gz", ".json", ".csv", ".tsv", ".parquet")
WANTS = (
    'tasks: a list of Task("name", "question", answer="...") or of dicts, a file, or the name of a'
    ' source ("gsm8k"), or its settings ({"source": "gsm8k", "count": 100})'
)
Sources = list[dict[str, Any]]


def sources_of(tasks: Any, part: str, where: str) -> tuple[Sources, str]:
    """(entries of tasks.`part`, the lines of the file that they name where they were a list).

    A source that is named alone is taken from its split "train", or "test" to evaluate on.
    """
    if isinstance(tasks, (str, Path)):
        return [_named(str(tasks), part)], ""
    if isinstance(tasks, TaskSettings):
        return [tasks.model_dump(mode="json", exclude_unset=True)], ""
    if isinstance(tasks, Mapping) and "source" in tasks:
        return [dict(tasks)], ""
    if isinstance(tasks, Task) or (isinstance(tasks, Mapping) and "question" in tasks):
        raise wrong(where, WANTS, tasks).hint("put it in a list: [it]")
    if isinstance(tasks, (Mapping, bytes)) or not isinstance(tasks, Iterable):
        raise wrong(where, WANTS, tasks)
    found = list(tasks)
    if not found:
        raise ArgumentError(f"{where}: the list of tasks is empty: give at least one")
    if all(_is_source(each) for each in found):
        return [entry for each in found for entry in sources_of(each, part, where)[0]], ""
    lines = [_line(each, f"{where}: task {n} of the list") for n, each in enumerate(found)]
    path = f"{GIVEN_FILES}/{part}.jsonl"
    return [{"source": "jsonl", "path": path}], "".join(f"{line}\n" for line in lines)


def rows_file(rows: Any, where: str) -> tuple[str, dict[str, str]]:
    """(path of an SFT set as a recipe has it, the file there by name where it was a list)."""
    if isinstance(rows, (str, Path)):
        return str(rows), {}
    wants = 'a file, or a list of conversations: {"messages": [...]}'
    found = list_of(rows, Mapping, where, "conversations")  # type: ignore[type-abstract]
    if not found:
        raise ArgumentError(f"{where}: the list is empty: give {wants}")
    path = f"{GIVEN_FILES}/sft.jsonl"
    lines = [_json(dict(row), f"{where}: number {n} of the list") for n, row in enumerate(found)]
    return path, {path: "".join(f"{line}\n" for line in lines)}


def trees_of(trees: Any, where: str) -> list[Tree]:
    """The trees of a list, of files, or of both. `DataError` where a file holds none."""
    if isinstance(trees, (str, Path)):
        trees = [trees]
    elif isinstance(trees, Tree):
        raise wrong(where, "a list of trees, or a file", trees).hint("put it in a list: [it]")
    elif isinstance(trees, Mapping) or not isinstance(trees, Iterable):
        raise wrong(where, "a list of trees, or a file", trees)
    found: list[Tree] = []
    for each in trees:
        if not isinstance(each, (str, Path, Tree)):
            raise wrong(where, "a list of trees, or a file", each)
        found += [each] if isinstance(each, Tree) else read_trees(check_file(each))
    if not found:
        raise ArgumentError(f"{where}: there are no trees")
    return found


def _is_source(value: Any) -> bool:
    if isinstance(value, Mapping):
        return "source" in value and "question" not in value
    return isinstance(value, (str, Path, TaskSettings))


def _named(name: str, part: str) -> dict[str, Any]:
    if name.lower().endswith(ENDINGS) or Path(name).is_file():
        return {"source": "jsonl", "path": name}
    return {"source": name, **({"split": "test"} if part == "eval" else {})}


def _line(task: Any, where: str) -> str:
    """A task as a line of a file that reads as the same task."""
    if isinstance(task, Task):
        row = {"id": str(task.id), "question": task.question}
        row |= {} if task.answer is None else {"answer": task.answer}
        taken = sorted({"id", "question", "answer", "answers"} & set(task.data))
        if taken:
            raise ArgumentError(f"{where}: its data have a key {taken[0]!r}: name that otherwise")
        row |= task.data
    elif isinstance(task, Mapping):
        row = dict(task)
    else:
        raise ArgumentError(f"{where} is {described(task)}: a Task or a dict is expected")
    if not isinstance(row.get("question"), str) or not row["question"].strip():
        keys = ", ".join(map(str, row))
        raise ArgumentError(f"{where}: no 'question', which is a text (it has {keys or 'nothing'})")
    return _json(row, where)


def _json(row: dict[str, Any], where: str) -> str:
    try:
        return json.dumps(row, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"{where}: it has to be written as JSON: {error}") from error
