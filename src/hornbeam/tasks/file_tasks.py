"""Tasks on a folder of small files: find, count, edit, rename, by shell-like tools.

A file holds three words. A question begins with what lies in the folder, then says what to do:

ash bay attic/ : find the file with coin and lamp           the answer is a path
ash bay attic/ : count the files with coin                  the answer is a number
ash bay attic/ : in the file with coin replace lamp by harp the answer is the folder as it should be
ash bay attic/ : move the file with coin to attic/yew       likewise

Levels have more files, deeper folders and more steps: words that a file must hold, or changes one
after the other. The tools are `hornbeam.tools.file_tools`, the world is a folder; the right
commands and what is heard of each are in `data["demonstration"]`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from random import Random
from typing import Any, NamedTuple

from hornbeam.errors import DataError
from hornbeam.settings import nearest
from hornbeam.tasks.lookup_world import SIGNS, TREASURES
from hornbeam.tasks.word_problems import held_out
from hornbeam.tree.task import Task

NAMES = SIGNS  # of files
FOLDERS = ("attic", "barn", "cave", "deck", "hall", "loft", "porch", "yard")
CONTENTS = (*TREASURES, "bell", "book", "cart", "dice", "flag", "glove", "kite", "mask")
KINDS = ("find", "count", "edit", "rename")
HELD = 3  # words of a file
TRIES = 2000  # draws for one task before it is said that no more can be made

Folder = dict[str, tuple[str, ...]]  # path -> words
Commands = list[list[str]]  # pairs of a command and what is heard


class FolderLevel(NamedTuple):
    """How many files, how deep they lie, how many steps a task has."""

    files: int
    depth: int
    steps: int


LEVELS = (FolderLevel(3, 0, 1), FolderLevel(5, 1, 1), FolderLevel(8, 2, 2), FolderLevel(12, 3, 3))


class _Unlucky(Exception):
    """What was drawn makes no task of this kind."""


def file_tasks(
    split: str = "train",
    count: int = 100,
    seed: int = 0,
    level: int = 1,
    kinds: Sequence[str] = KINDS,
    files: int | None = None,
    depth: int | None = None,
    steps: int | None = None,
) -> list[Task]:
    """`count` different tasks of these kinds in turns, equal for equal arguments.

    `level` is 1 to 4; `files`, `depth` and `steps` change what it stands for. `data` holds `world`
    (texts by path), `kind` and `demonstration`. The question decides whether a task belongs to
    train or test, whatever the seed.
    """
    shape = _shape(split, level, kinds, files, depth, steps)
    rng = Random(f"files/{split}/{seed}/{shape}/{kinds}")
    seen: set[str] = set()
    tasks: list[Task] = []
    while len(tasks) < count:
        for _ in range(TRIES):
            try:
                task = _task(kinds[len(tasks) % len(kinds)], shape, rng)
            except _Unlucky:
                continue
            if task.question not in seen and held_out(task.question) == (split == "test"):
                break
        else:
            raise DataError(f"only {len(tasks)} different file tasks could be made of {count}")
        seen.add(task.question)
        tasks.append(task)
    return tasks


def _shape(
    split: str,
    level: int,
    kinds: Sequence[str],
    files: int | None,
    depth: int | None,
    steps: int | None,
) -> FolderLevel:
    """What a level stands for. Raises `DataError`."""
    if split not in ("train", "test"):
        raise DataError(f"file tasks have the splits train and test, not {split!r}")
    if isinstance(kinds, str) or not kinds:
        raise DataError(f"file tasks: kinds is a list of some of {', '.join(KINDS)}")
    for kind in kinds:
        if kind not in KINDS:
            raise DataError(f"file tasks have no kind {kind!r}: {nearest(kind, KINDS)}")
    if level not in range(1, len(LEVELS) + 1):
        raise DataError(f"file tasks: level is {level} and must lie in 1 to {len(LEVELS)}")
    given = {"files": files, "depth": depth, "steps": steps}
    shape = LEVELS[level - 1]._replace(**{k: v for k, v in given.items() if v is not None})
    bounds = {"files": (2, len(NAMES) - HELD), "depth": (0, 4), "steps": (1, HELD)}
    for name, (low, high) in bounds.items():
        if not low <= getattr(shape, name) <= high:
            raise DataError(
                f"file tasks: {name} is {getattr(shape, name)} and must lie in {low} to {high}"
            )
    return shape


def _task(kind: str, shape: FolderLevel, rng: Random) -> Task:
    folder = _folder(shape, rng)
    world = {path: f"{' '.join(words)}\n" for path, words in folder.items()}
    listing = " ".join(sorted({path.split("/")[0] + "/" * ("/" in path) for path in folder}))
    make = {"find": _find, "count": _count}.get(kind)
    asked, answer, shown = (
        make(folder, shape.steps, rng) if make else _changes(kind, folder, shape.steps, rng)
    )
    question = f"{listing} : {asked}"
    digest = hashlib.blake2b(question.encode(), digest_size=6).hexdigest()
    data: dict[str, Any] = {"world": world, "kind": kind, "demonstration": shown}
    return Task(f"files-{kind}-{digest}", question, answer, data)


def _folder(shape: FolderLevel, rng: Random) -> Folder:
    """Files with their words, in folders at most so deep."""
    folders = [""]
    for name in rng.sample(FOLDERS, min(2 * shape.depth, len(FOLDERS))):
        folders.append(rng.choice([f for f in folders if f.count("/") < shape.depth]) + f"{name}/")
    return {
        rng.choice(folders) + name: tuple(rng.sample(CONTENTS, HELD))
        for name in rng.sample(NAMES, shape.files)
    }


# --- what is asked: (its words, the answer, the right commands) ----------------------------------


def _find(folder: Folder, steps: int, rng: Random) -> tuple[str, str, Commands]:
    """A file by words that no other has all of, and each of which others have too."""
    path = rng.choice(sorted(folder))
    words = rng.sample(folder[path], steps)
    if _with(folder, words) != [path]:
        raise _Unlucky
    if steps > 1 and any(len(_with(folder, [word])) < 2 for word in words):
        raise _Unlucky
    shown = [*_greps(folder, words), [f"answer {path}", ""]]
    return f"find the file with {' and '.join(words)}", path, shown


def _count(folder: Folder, steps: int, rng: Random) -> tuple[str, str, Commands]:
    """The number of files that have all of some words."""
    words = rng.sample(folder[rng.choice(sorted(folder))], steps)
    number = str(len(_with(folder, words)))
    shown = [*_greps(folder, words), [f"answer {number}", ""]]
    return f"count the files with {' and '.join(words)}", number, shown


def _changes(kind: str, folder: Folder, steps: int, rng: Random) -> tuple[str, str, Commands]:
    """Changes one after the other, the first of this kind."""
    asked, shown, folder = [], Commands(), dict(folder)
    for number in range(steps):
        single = [w for w in CONTENTS if len(_with(folder, [w])) == 1]
        if not single:
            raise _Unlucky
        word = rng.choice(single)
        shown += _greps(folder, [word])
        (path,) = _with(folder, [word])
        change = kind if not number else rng.choice(KINDS[2:])
        if change == "edit":
            old = rng.choice([w for w in folder[path] if w != word])
            new = rng.choice([w for w in CONTENTS if w not in folder[path]])
            folder[path] = tuple(new if w == old else w for w in folder[path])
            asked.append(f"in the file with {word} replace {old} by {new}")
            shown.append([f"sub {path} {old} {new}", "ok"])
        else:
            used = {each.rpartition("/")[2] for each in folder}
            places = sorted({each.rpartition("/")[0] for each in folder})
            name = rng.choice([n for n in NAMES if n not in used])
            to = "/".join(filter(None, (rng.choice(places), name)))
            folder[to] = folder.pop(path)
            asked.append(f"move the file with {word} to {to}")
            shown.append([f"mv {path} {to}", "ok"])
    state = "\n".join(f"{path}: {' '.join(folder[path])}" for path in sorted(folder))
    return " then ".join(asked), state, [*shown, ["done", ""]]


def _with(folder: Folder, words: Sequence[str]) -> list[str]:
    """The paths of the files that hold all of these words."""
    return sorted(path for path, held in folder.items() if {*words} <= {*held})


def _greps(folder: Folder, words: Sequence[str]) -> Commands:
    return [[f"grep {word}", " ".join(_with(folder, [word]))] for word in words]
