"""Tasks that are made, not read: as many as asked for, equal for equal arguments, on any machine.

Train and test never share a task: which of the two one belongs to depends on a digest of itself.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from collections.abc import Generator as Items
from contextlib import closing
from dataclasses import replace
from functools import partial
from inspect import signature
from itertools import islice
from pathlib import Path
from typing import Any

from hornbeam.errors import DataError, RecipeError
from hornbeam.settings import nearest
from hornbeam.tasks.code_repair import code_repair_tasks
from hornbeam.tasks.file_tasks import file_tasks
from hornbeam.tasks.hops import hop_tasks
from hornbeam.tasks.key_door import key_door_tasks
from hornbeam.tasks.spreadsheet import spreadsheet_tasks
from hornbeam.tasks.word_problems import held_out, word_problems
from hornbeam.tree.task import SCORING, Task

TRIES = 200  # draws for one task before it is said that no more can be made

# -P: the folder of the script is no place to import from
MAKER = (sys.executable, "-P", str(Path(__file__).with_name("gym.py")))

Generator = Callable[..., list[Task]]


def reasoning_gym_tasks(
    split: str, count: int, seed: int = 0, *, dataset: str = "", **options: Any
) -> list[Task]:
    """`count` different tasks of a reasoning-gym data set; `options` are its own settings.

    `data` holds what the rule "reasoning_gym" scores by: `dataset`, `metadata` as plain JSON, and
    under `scoring` the metadata as they were `made`, where JSON cannot hold them, and `options`.
    Equal arguments give equal tasks in every process. An `answer` of None: the set has none, and
    its scorer needs none.
    """
    if split not in ("train", "test"):
        raise RecipeError(f"reasoning_gym has the splits train and test, not {split!r}")
    if not dataset:
        raise RecipeError("reasoning_gym: name the data set, options = { dataset = 'countdown' }")
    tasks: list[Task] = []
    seen: set[str] = set()
    with closing(_procedural(dataset, seed, options)) as made:
        for number in range(count):
            for entry in islice(made, TRIES):
                data = {"dataset": dataset, "metadata": entry["metadata"]}
                scoring = {"made": entry["made"]} if "made" in entry else {}
                scoring |= {"options": options} if options else {}
                data |= {SCORING: scoring} if scoring else {}
                name = f"{dataset}-{split}-{seed}-{number}"
                task = Task(name, entry["question"], entry["answer"], data)
                if task.question not in seen and held_out(_key(task)) == (split == "test"):
                    break
            else:
                raise DataError(
                    f"reasoning_gym {dataset}: only {number} different tasks could be made of"
                    f" {count}"
                )
            seen.add(task.question)
            tasks.append(task)
    return tasks


def _procedural(
    dataset: str, seed: int, options: dict[str, Any]
) -> Items[dict[str, Any], None, None]:
    """Items of a set one after the other, from a process that ends with the generator."""
    try:
        asked = json.dumps({"dataset": dataset, "seed": seed, "options": options})
    except TypeError as error:
        raise RecipeError(f"reasoning_gym {dataset}: options must be JSON data: {error}") from error
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONIOENCODING": "utf-8"}
    process = subprocess.Popen(
        MAKER,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
    )
    with process:
        try:
            assert process.stdin and process.stdout
            process.stdin.write(asked + "\n")
            process.stdin.flush()
            for number, text in enumerate(process.stdout):
                data = json.loads(text)
                if "unknown" in data:
                    hint = nearest(dataset, data["unknown"])
                    raise RecipeError(f"reasoning_gym has no {dataset!r}: {hint}")
                if "error" in data:
                    where = f", item {number}" * (number > 0)
                    raise RecipeError(f"reasoning_gym {dataset}{where}: {data['error']}")
                yield data
            raise DataError(
                f"reasoning_gym {dataset}: the process that makes items died; to see why, run"
                f" {' '.join(MAKER)} and give it {asked}"
            )
        finally:
            process.kill()


def _key(task: Task) -> str:
    """What makes a task itself: its numbers, without the wording and the place it was drawn at."""
    metadata = {k: v for k, v in task.data["metadata"].items() if k != "source_index"}
    return json.dumps([task.answer, metadata], sort_keys=True)


def check_options(generator: str, options: Mapping[str, Any]) -> None:
    """Raise `RecipeError` for an option that a generator has not; those of a gym's set it tells."""
    from hornbeam.tasks.lookup_world import lookup_tasks

    makers: dict[str, Generator]
    makers = {"word_problems": word_problems, "lookup": lookup_tasks, "errand": lookup_tasks}
    makers |= worldly
    if generator == "reasoning_gym":
        return
    maker: Generator = makers.get(generator, hop_tasks)
    known = [*signature(maker).parameters]
    known = [name for name in known if name not in ("split", "count", "seed")]
    for name in options:
        if name not in known:
            hint = nearest(name, known) if known else "it takes none"
            raise RecipeError(f"{generator} has no option {name!r}: {hint}")


def _word_problems(split: str, count: int, seed: int = 0, **options: Any) -> list[Task]:
    try:
        return word_problems(split, count, seed, **options)
    except TypeError as error:
        raise RecipeError(f"word_problems: {error}") from error


def _lookup(split: str, count: int, seed: int = 0, **options: Any) -> list[Task]:
    from hornbeam.tasks.lookup_world import lookup_tasks

    try:
        return lookup_tasks(split, count, seed, **options)
    except TypeError as error:
        raise RecipeError(f"lookup: {error}") from error


def _errand(split: str, count: int, seed: int = 0, **options: Any) -> list[Task]:
    """Tasks of the tiny world, with the notes on the right way as `data["way"]`."""
    from hornbeam.tasks.lookup_world import way

    tasks = _lookup(split, count, seed, **options)
    return [replace(task, data={**task.data, "way": way(task)}) for task in tasks]


def _hops(split: str, count: int, seed: int = 0, **options: Any) -> list[Task]:
    if options:
        raise RecipeError(f"hops take no options, {sorted(options)} given")
    return hop_tasks(split, count, seed)


def _checked(
    name: str, maker: Generator, split: str, count: int, seed: int = 0, **options: Any
) -> list[Task]:
    """Tasks of a maker. Raises `RecipeError` for options of another type."""
    try:
        return maker(split, count, seed, **options)
    except TypeError as error:
        raise RecipeError(f"{name}: {error}") from error


worldly: dict[str, Generator] = {  # tasks whose tools act on a world
    "files": file_tasks,
    "code_repair": code_repair_tasks,
    "key_door": key_door_tasks,
    "spreadsheet": spreadsheet_tasks,
}

generators: dict[str, Generator] = {
    "word_problems": _word_problems,
    "reasoning_gym": reasoning_gym_tasks,
    "lookup": _lookup,
    "errand": _errand,
    "hops": _hops,
    **{name: partial(_checked, name, maker) for name, maker in worldly.items()},
}
