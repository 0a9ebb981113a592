"""Tasks that are made, not read: as many as asked for, equal for equal arguments, on any machine.

Train and test never share a task: which of the two one belongs to hangs on a digest of itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hornbeam.errors import DataError, RecipeError
from hornbeam.settings import nearest
from hornbeam.tasks.base import Task
from hornbeam.tasks.hops import hop_tasks
from hornbeam.tasks.word_problems import held_out, word_problems

TRIES = 200  # draws for one task before it is said that no more can be made

Generator = Callable[..., list[Task]]


def reasoning_gym_tasks(
    split: str, count: int, seed: int = 0, *, dataset: str = "", **options: Any
) -> list[Task]:
    """`count` different tasks of a reasoning-gym data set; `options` are its own settings.

    `data` holds `dataset` and `metadata`, which the rule "reasoning_gym" scores by.
    """
    if split not in ("train", "test"):
        raise RecipeError(f"reasoning_gym has the splits train and test, not {split!r}")
    made = _procedural(dataset, seed, options)
    tasks: list[Task] = []
    seen: set[str] = set()
    index = 0
    for number in range(count):
        for _ in range(TRIES):
            entry = made[index]
            index += 1
            metadata = json.loads(json.dumps(entry.get("metadata", {}), default=str))
            task = Task(
                f"{dataset}-{split}-{seed}-{number}",
                entry["question"],
                entry["answer"],
                {"dataset": dataset, "metadata": metadata},
            )
            if task.question not in seen and held_out(_key(task)) == (split == "test"):
                break
        else:
            raise DataError(
                f"reasoning_gym {dataset}: only {number} different tasks could be made of {count}"
            )
        seen.add(task.question)
        tasks.append(task)
    return tasks


def _procedural(dataset: str, seed: int, options: dict[str, Any]) -> Any:
    if not dataset:
        raise RecipeError("reasoning_gym: name the data set, options = { dataset = 'countdown' }")
    from reasoning_gym.factory import DATASETS, create_dataset

    if dataset not in DATASETS:
        raise RecipeError(f"reasoning_gym has no {dataset!r}: {nearest(dataset, DATASETS)}")
    try:
        return create_dataset(dataset, seed=seed, **options)
    except (TypeError, ValueError, AssertionError) as error:
        raise RecipeError(f"reasoning_gym {dataset}: {error}") from error


def _key(task: Task) -> str:
    """What makes a task itself: its numbers, without the wording and the place it was drawn at."""
    metadata = {k: v for k, v in task.data["metadata"].items() if k != "source_index"}
    return json.dumps([task.answer, metadata], sort_keys=True)


def _word_problems(split: str, count: int, seed: int = 0, **options: Any) -> list[Task]:
    try:
        return word_problems(split, count, seed, **options)
    except TypeError as error:
        raise RecipeError(f"word_problems: {error}") from error


def _lookup(split: str, count: int, seed: int = 0, **options: Any) -> list[Task]:
    from hornbeam.tasks.tiny import lookup_tasks

    try:
        return lookup_tasks(split, count, seed, **options)
    except TypeError as error:
        raise RecipeError(f"lookup: {error}") from error


def _errand(split: str, count: int, seed: int = 0, **options: Any) -> list[Task]:
    """Tasks of the tiny world, with the notes on the right way as `data["way"]`."""
    from hornbeam.tasks.tiny import way

    tasks = _lookup(split, count, seed, **options)
    return [replace(task, data={**task.data, "way": way(task)}) for task in tasks]


def _hops(split: str, count: int, seed: int = 0, **options: Any) -> list[Task]:
    if options:
        raise RecipeError(f"hops take no options, {sorted(options)} given")
    return hop_tasks(split, count, seed)


generators: dict[str, Generator] = {
    "word_problems": _word_problems,
    "reasoning_gym": reasoning_gym_tasks,
    "lookup": _lookup,
    "errand": _errand,
    "hops": _hops,
}
