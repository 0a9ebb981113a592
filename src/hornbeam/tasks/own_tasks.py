"""Tasks of one's own: a function that gives them, `source = "mine.py:rooms"`.

    def rooms(split, seed, doors=3): ...    # a list of Tasks or of dicts, or a generator

It takes by name what it wants of `GIVEN`; its other parameters are its settings, the `options` of
the source. A dict is read as a row of a file is: `question`, `answer`, `id`, all else its data.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from hornbeam.arguments import described
from hornbeam.errors import DataError
from hornbeam.own.own_functions import OwnFunction, own_function
from hornbeam.own.own_parts import Base, find_part
from hornbeam.tasks.families import to_tasks
from hornbeam.tree.task import Task

# Which split is meant, the recipe's seed for it (0 without one), how many tasks are wanted (None:
# all that there are).
GIVEN = ("split", "seed", "count")


def task_function(
    name: str, known: Iterable[str], base: Base, options: Mapping[str, Any]
) -> OwnFunction:
    """The function that a source names. Raises `RecipeError` and `ProgramError`, one line."""
    return own_function(find_part("task source", name, known, base), options, [], GIVEN)


def own_tasks(
    function: OwnFunction, split: str, seed: int, wanted: int | None, fields: Mapping[str, str]
) -> list[Task]:
    """What the function gives, at most so many as are wanted. Raises `DataError`."""
    where = function.part.where
    rows = function(split=split, seed=seed, count=wanted)
    if isinstance(rows, (str, bytes, Mapping)) or not isinstance(rows, Iterable):
        raise DataError(f"{where} gave {described(rows)}: a list of tasks is expected")
    prefix = f"{where.rpartition(' ')[2]}-{split}"
    return list(_tasks(islice(rows, wanted), prefix, where, fields))


def _tasks(
    rows: Iterable[Any], prefix: str, where: str, fields: Mapping[str, str]
) -> Iterator[Task]:
    for number, row in enumerate(rows, 1):
        if isinstance(row, Task):
            yield row
        elif isinstance(row, Mapping):
            yield from to_tasks([(number, dict(row))], prefix, where, fields, "task")
        else:
            raise DataError(
                f"{where}, task {number}: a Task or a dict is expected, not {described(row)}"
            )
