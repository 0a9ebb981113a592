"""Tasks by recipe: from the data directory, else the hub, else a built-in generator.

Which of them gave the tasks is said in one line a source, to be printed and stored.
"""

from __future__ import annotations

import json
import os
import random
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field

from hornbeam.errors import DataError, RecipeError
from hornbeam.files.paths import find
from hornbeam.own.own_functions import OwnFunction
from hornbeam.settings import Settings, build, nearest
from hornbeam.tasks.families import (
    families,
    family_file,
    family_splits,
    family_tasks,
    read_family,
    to_tasks,
)
from hornbeam.tasks.generated import check_options, generators
from hornbeam.tasks.hub import HubSilent, hub_rows
from hornbeam.tasks.judge_tasks import JudgeOptions, judge_tasks
from hornbeam.tasks.own_tasks import own_tasks, task_function
from hornbeam.tasks.records import read_rows
from hornbeam.tasks.verifiers_environment import environment
from hornbeam.tree.task import Task

FALLBACK_COUNT = 600  # tasks that a generator makes where all of a data set were asked for


class TaskSettings(Settings):
    """One source of tasks and which of them to take.

    `source` is a function of one's own ("file.py:name", with its settings in `options`;
    `own_tasks`), a known data set (`families`), a generator (`generators`), "jsonl" (a file at
    `path`: JSON lines, or a table by its ending .csv, .tsv or .parquet), "judge" (labelled steps at
    `path`) or "hub" (the data set `name`, `config` there).
    `seed` shuffles what is read, or seeds what is made; then `skip` are left out and `count` taken
    (all there are, if not given, or 600 from a fallback). `fields` maps `question`, `answer`, `id`
    and others to their names in the file. `max_operations` keeps tasks whose gold expression has at
    most so many. `options` are settings of the source itself, or of the generator `fallback`, which
    makes the tasks where they are nowhere to be had.
    """

    source: str
    split: str = "train"
    count: int | None = Field(None, gt=0)
    skip: int = Field(0, ge=0)
    seed: int | None = None
    path: str | None = None
    name: str | None = None
    config: str | None = None
    fields: dict[str, str] = {}
    max_operations: int | None = Field(None, gt=0)
    options: dict[str, Any] = {}
    fallback: str | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """Tasks, and a line for people on each source: "svamp train: 600 tasks from ..."."""

    tasks: list[Task]
    sources: list[str]


@dataclass(frozen=True, slots=True)
class TaskLoader:
    """How tasks of a source are had, (settings, data directory) -> (tasks, where from).

    `takes` names the settings that mean something to it beside the common ones.
    """

    load: Callable[[TaskSettings, Path | None], tuple[list[Task], str]]
    takes: frozenset[str] = frozenset()


_COMMON = frozenset({"source", "split", "count", "skip", "seed"})


def load_tasks(
    settings: Sequence[TaskSettings], data: Path | None = None, base: Path = Path()
) -> Loaded:
    """Tasks of all sources in order, and where each came from.

    `data` is the data directory, else `HORNBEAM_DATA`; `base` is the recipe's own folder, where a
    `path` is looked for first. Raises `RecipeError` for what is not known
    and `DataError` for files that cannot be read, too few tasks and ids that occur twice.
    """
    data = data_directory(data)
    tasks: list[Task] = []
    lines = []
    owner: dict[str, str] = {}
    for each in settings:
        label = _label(each)
        if each.path:
            each = each.model_copy(update={"path": str(find(each.path, base, data))})
        found, where = _source(each, base).load(each, data)
        for task in found:
            if task.id in owner:
                raise DataError(
                    f"{task.origin or label}: the task id {task.id!r} occurs twice (also in"
                    f" {owner[task.id]})"
                )
            owner[task.id] = task.origin or label
        tasks += found
        lines.append(f"{label}: {len(found)} {'task' if len(found) == 1 else 'tasks'} {where}")
    return Loaded(tasks, lines)


def check_disjoint(train: Sequence[Task], held_out: Sequence[Task]) -> None:
    """Raises `DataError` when a held-out question is trained on."""
    asked = {task.question: task.id for task in train}
    both = [task for task in held_out if task.question in asked]
    if both:
        raise DataError(
            f"{len(both)} of {len(held_out)} held-out questions are trained on, first"
            f" {both[0].id!r} (in training {asked[both[0].question]!r}): take another split or"
            " set `skip` with the same `seed`"
        )


def data_directory(given: Path | None = None) -> Path | None:
    """The directory given, else the one that `HORNBEAM_DATA` names, else None.

    Raises `DataError` if it is none.
    """
    name = os.environ.get("HORNBEAM_DATA")
    path = given or (Path(name) if name else None)
    if path and not path.expanduser().is_dir():
        raise DataError(f"{'' if given else 'HORNBEAM_DATA = '}{path}: no such directory of data")
    return path.expanduser() if path else None


def _label(settings: TaskSettings) -> str:
    if settings.source == "jsonl":
        return str(settings.path)
    if settings.source == "judge":
        return f"{settings.path} {settings.split}"
    if settings.source == "hub":
        return f"{settings.name} {settings.split}"
    if settings.source == "verifiers":
        return f"verifiers {settings.name}"
    if settings.source == "reasoning_gym":
        return f"reasoning_gym {settings.options.get('dataset', '')} {settings.split}"
    return f"{settings.source} {settings.split}"


def check_source(settings: TaskSettings, base: Path = Path()) -> None:
    """Raise `RecipeError` for a source, or a setting of it, that is not known; nothing is read."""
    _source(settings, base)
    name = settings.source
    if name in families and settings.split not in family_splits(name):
        hint = nearest(settings.split, family_splits(name))
        raise RecipeError(f"{name} has no split {settings.split!r}: {hint}")
    if name in ("jsonl", "judge") and not settings.path:
        raise RecipeError(f"task source {name!r} needs `path`")
    if name == "judge":
        build("task source", {"judge": JudgeOptions}, "judge", settings.options)
    elif generator := name if name in generators else settings.fallback:
        check_options(generator, settings.options)


def _source(settings: TaskSettings, base: Path) -> TaskLoader:
    name = settings.source
    if name in sources:
        source = sources[name]
    elif name == "verifiers":
        source = TaskLoader(partial(_verifiers, base), frozenset({"name", "options"}))
    else:
        function = task_function(name, [*sources, "verifiers"], base, settings.options)
        source = TaskLoader(partial(_own, function), frozenset({"options", "fields"}))
    takes = _COMMON | source.takes | ({"options"} if settings.fallback else set())
    plain = type(settings).model_fields  # a recipe that is kept whole has all at their defaults
    given = {k for k in settings.model_fields_set if getattr(settings, k) != plain[k].default}
    strange = sorted(given - takes)
    if strange:
        raise RecipeError(f"task source {name!r} has no use for {strange[0]!r}; leave it out")
    if settings.fallback is not None and settings.fallback not in generators:
        hint = nearest(settings.fallback, generators)
        raise RecipeError(f"unknown generator {settings.fallback!r} as fallback: {hint}")
    return source


# --- where tasks come from -----------------------------------------------------------------------


def _generated(settings: TaskSettings, data: Path | None) -> tuple[list[Task], str]:
    if settings.count is None:
        raise RecipeError(f"{settings.source} makes as many tasks as asked for: give `count`")
    return _make(settings.source, settings, settings.count, settings.seed or 0), "made here"


def _make(generator: str, settings: TaskSettings, count: int, seed: int) -> list[Task]:
    """So many tasks that `count` are left when `skip` have been taken off."""
    options = dict(settings.options)
    if generator == "word_problems" and settings.max_operations is not None:
        options.setdefault("operations", (1, settings.max_operations))
    wanted = settings.skip + count
    return generators[generator](settings.split, wanted, seed, **options)[settings.skip :]


def _own(
    function: OwnFunction, settings: TaskSettings, data: Path | None
) -> tuple[list[Task], str]:
    """By a function of one's own: one that takes a seed draws by it, else the seed shuffles."""
    drawn = "seed" in function.takes
    wanted = None if settings.count is None else settings.skip + settings.count
    every = settings.seed is not None and not drawn
    tasks = own_tasks(
        function, settings.split, settings.seed or 0, None if every else wanted, settings.fields
    )
    kept = settings.model_copy(update={"seed": None}) if drawn else settings
    return _cut(tasks, kept, f"by {function.part.where}")


def _family(settings: TaskSettings, data: Path | None) -> tuple[list[Task], str]:
    """A known data set: data directory, hub, fallback."""
    name, split = settings.source, settings.split
    if split not in family_splits(name):
        raise RecipeError(f"{name} has no split {split!r}: {nearest(split, family_splits(name))}")
    path = family_file(name, split, data) if data else None
    if path:
        return _cut(read_family(name, split, path), settings, "from the data directory")
    missing = "it is not in the data directory" if data else "no data directory is set"
    try:
        rows = _hub_family(name, split)
    except HubSilent as error:
        return _fall_back(settings, f"{missing}, the hub gave nothing ({error})")
    return _cut(family_tasks(name, split, rows, f"hub:{name}"), settings, "from the hub")


def _hub_family(name: str, split: str) -> list[tuple[int, dict[str, Any]]]:
    family = families[name]
    if split not in family.hub:
        raise HubSilent("it is not known there")
    rows = hub_rows(*family.hub[split])
    try:
        return [(number, family.from_hub(row)) for number, row in enumerate(rows, 1)]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{family.hub[split][0]} on the hub has not the fields it had ({error!r}); read it as"
            " source = 'hub' with `fields`"
        ) from error


def _hub(settings: TaskSettings, data: Path | None) -> tuple[list[Task], str]:
    """Any data set of the hub by its name."""
    if not settings.name:
        raise RecipeError("task source 'hub' needs `name`, the data set as owner/name")
    try:
        rows = hub_rows(settings.name, settings.config, settings.split)
    except HubSilent as error:
        return _fall_back(settings, f"the hub gave nothing ({error})")
    prefix = f"{settings.name}-{settings.split}"
    tasks = list(to_tasks(enumerate(rows, 1), prefix, settings.name, settings.fields))
    return _cut(tasks, settings, "from the hub")


def _fall_back(settings: TaskSettings, reason: str) -> tuple[list[Task], str]:
    if settings.fallback is None:
        raise DataError(
            f"{_label(settings)}: {reason}; set HORNBEAM_DATA to a data directory, or name a"
            " built-in generator: fallback = 'word_problems'"
        )
    # two sources that fall back on one generator must not be given the same tasks
    seed = zlib.crc32(f"{_label(settings)}/{settings.seed or 0}".encode())
    tasks = _make(settings.fallback, settings, settings.count or FALLBACK_COUNT, seed)
    return tasks, f"made by {settings.fallback}: {reason}"


def _jsonl(settings: TaskSettings, data: Path | None) -> tuple[list[Task], str]:
    """A file of one's own."""
    path = _path(settings)
    prefix = path.name.split(".")[0]
    tasks = list(to_tasks(read_rows(path), prefix, str(path), settings.fields))
    return _cut(tasks, settings, "from the file")


def _verifiers(base: Path, settings: TaskSettings, data: Path | None) -> tuple[list[Task], str]:
    """The tasks of a `verifiers` environment, those of the program unless `name` says another."""
    if not settings.name:
        raise RecipeError("task source 'verifiers' needs `name`, or a [program] verifiers = ...")
    played = environment(settings.name, json.dumps(settings.options, sort_keys=True), base)
    most = None if settings.count is None else settings.skip + settings.count
    return _cut(played.tasks(most if settings.seed is None else None), settings, "made by it")


def _judge(settings: TaskSettings, data: Path | None) -> tuple[list[Task], str]:
    """Labelled steps, in an order of their own: it keeps both answers in balance."""
    options = build("task source", {"judge": JudgeOptions}, "judge", settings.options)
    found = judge_tasks(_path(settings), options, settings.split, settings.seed)
    return _cut(found[0], settings.model_copy(update={"seed": None}), found[1])


def _path(settings: TaskSettings) -> Path:
    """The file that is named, as `load_tasks` found it."""
    if not settings.path:
        raise RecipeError(f"task source {settings.source!r} needs `path`")
    return Path(settings.path)


def _cut(tasks: list[Task], settings: TaskSettings, where: str) -> tuple[list[Task], str]:
    """The tasks that the settings ask for: easy ones, shuffled, skipped, counted."""
    most = settings.max_operations
    if most is not None:
        kept = [task for task in tasks if 0 < task.data.get("operations", 0) <= most]
        where += f" ({len(kept)} of {len(tasks)} have at most {most} operation{'s' * (most > 1)})"
        tasks = kept
    if settings.seed is not None:
        tasks = random.Random(settings.seed).sample(tasks, len(tasks))
    wanted = settings.skip + (settings.count or 1)
    if len(tasks) < wanted:
        raise DataError(
            f"{_label(settings)}: skip {settings.skip} and count {settings.count} ask for {wanted}"
            f" tasks, there are {len(tasks)} {where}"
        )
    end = None if settings.count is None else wanted
    return tasks[settings.skip : end], where


sources: dict[str, TaskLoader] = {
    **dict.fromkeys(families, TaskLoader(_family, frozenset({"max_operations", "fallback"}))),
    **dict.fromkeys(generators, TaskLoader(_generated, frozenset({"options"}))),
    "word_problems": TaskLoader(_generated, frozenset({"options", "max_operations"})),
    "jsonl": TaskLoader(_jsonl, frozenset({"path", "fields", "max_operations"})),
    "judge": TaskLoader(_judge, frozenset({"path", "options"})),
    "hub": TaskLoader(_hub, frozenset({"name", "config", "fields", "max_operations", "fallback"})),
}
