"""A tiny world for a tiny model: find a treasure by looking up one key after another.

A task is a chain of rooms. The note in a room shows three doors with a key each, then a sign;
looking up a key gives the next note. The sign says which door is right, by a rule that is the same
in all tasks of a world and is told nowhere. A wrong door leads among rooms that look like all
others, and only the last note, a treasure, tells the right way from the wrong ones: the outcome is
sparse, one wrong choice spoils it, and nothing on the way says which.

The demonstrations for a warm start are right about some of the signs and wrong about the others, in
half of the cases by the same wrong door: what a model can learn from them is bounded, and the rest
must be found out from outcomes. With a share k of the signs known, who acts as they do succeeds in
about (k + (1 - k) / 4)^depth of the tasks, who does what they do most in k^depth: 0.29 and 0.18 for
six choices and nine signs known of twelve.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from hornbeam.errors import DataError, ToolError
from hornbeam.tasks.word_problems import held_out
from hornbeam.tree.task import Task

DOORS = ("left", "middle", "right")
SIGNS = (
    *("ash", "bay", "elm", "fig", "fir", "oak", "yew", "box"),
    *("lime", "pear", "plum", "rose", "sage", "teak", "thyme", "vine"),
)
TREASURES = ("bowl", "coin", "comb", "cup", "drum", "harp", "lamp", "ring")
KEYS = tuple(f"k{number:02d}" for number in range(64))
WORDS = ("start", ":", *DOORS, *SIGNS, *TREASURES, *KEYS)

Habits = Mapping[str, tuple[str, ...]]  # sign -> doors that a demonstrator draws from

ROOMS = 4  # rooms a choice can lead to: the right one first, then one for each wrong door
TRIES = 2000  # draws for one task before it is said that no more can be made


def lookup_tasks(
    split: str = "train",
    count: int = 100,
    seed: int = 0,
    depth: int = 6,
    signs: int = 12,
    known: float = 0.75,
    world: int = 0,
    lucky: float = 0.0,
) -> list[Task]:
    """`count` different tasks of `depth` choices, equal for equal arguments.

    `world` seeds the rule for the `signs`, and about which share `known` demonstrations are right.
    Each wrong end holds the treasure all the same with probability `lucky`: then some right answers
    were reached the wrong way, and the outcome alone does not tell which. `answer` is the treasure;
    `data` holds `rooms` (key -> note), `gold` (the right doors) and `demonstration` (the doors a
    demonstrator takes). The signs on the right way and the first note decide whether a task belongs
    to train or test, whatever the seed, so the two share neither.
    """
    _check(split, depth, signs, known, lucky)
    right = rule(signs, world)
    habits = demonstrator(right, known, world)
    rng = Random(f"lookup/{split}/{seed}/{depth}/{signs}/{world}")
    seen: set[str] = set()
    tasks: list[Task] = []
    while len(tasks) < count:
        for _ in range(TRIES):
            way = [rng.choice(SIGNS[:signs]) for _ in range(depth)]
            name = "-".join(way)
            if name in seen or held_out(name) != (split == "test"):
                continue
            task = _task(way, right, habits, rng, lucky)
            if held_out(task.question) == (split == "test"):
                break
        else:
            raise DataError(f"only {len(tasks)} different lookup tasks could be made of {count}")
        seen.add(name)
        tasks.append(task)
    return tasks


def _check(split: str, depth: int, signs: int, known: float, lucky: float) -> None:
    if split not in ("train", "test"):
        raise DataError(f"lookup tasks have the splits train and test, not {split!r}")
    bounds: dict[str, tuple[float, int, int]] = {
        "depth": (depth, 1, len(KEYS) // ROOMS),
        "signs": (signs, 1, len(SIGNS)),
        "known": (known, 0, 1),
        "lucky": (lucky, 0, 1),
    }
    for name, (value, low, high) in bounds.items():
        if not low <= value <= high:
            raise DataError(f"lookup tasks: {name} is {value} and must lie in {low} to {high}")


def rule(signs: int, world: int = 0) -> dict[str, str]:
    """The right door for each sign; every door is right for about as many signs."""
    rng = Random(f"lookup rule/{world}")
    doors = [DOORS[number % len(DOORS)] for number in range(signs)]
    rng.shuffle(doors)
    return dict(zip(SIGNS[:signs], doors))


def demonstrator(right: Mapping[str, str], known: float, world: int = 0) -> Habits:
    """For each sign the doors that a demonstrator draws from.

    For the share `known` of the signs the right one only; for the others a wrong one twice, and
    the other two once.
    """
    rng = Random(f"lookup known/{world}")
    wise = set(rng.sample(sorted(right), round(known * len(right))))
    habits: dict[str, tuple[str, ...]] = {}
    for sign, door in right.items():
        wrong, other = rng.sample([d for d in DOORS if d != door], 2)
        habits[sign] = (door,) if sign in wise else (wrong, wrong, door, other)
    return habits


def _task(
    way: Sequence[str], right: Mapping[str, str], habits: Habits, rng: Random, lucky: float
) -> Task:
    """A task with its rooms: one layer of rooms a choice, the first of each on the right way."""
    signs = sorted(right)
    keys = rng.sample(KEYS, len(way) * ROOMS)
    layers = [keys[at : at + ROOMS] for at in range(0, len(keys), ROOMS)]
    treasures = rng.sample(TREASURES, ROOMS)
    ends = treasures
    if lucky:  # nothing is drawn without it, so that tasks stay what they were
        ends = [treasure if rng.random() >= lucky else treasures[0] for treasure in treasures]
    rooms = dict(zip(layers[-1], ends))
    for sign, above, below in zip(way[1:], layers, layers[1:]):
        rooms[above[0]] = _note(sign, right[sign], below, rng)
        for key in above[1:]:
            rooms[key] = _note(rng.choice(signs), "", below, rng)
    start = _note(way[0], right[way[0]], layers[0], rng)
    data: dict[str, Any] = {
        "rooms": rooms,
        "gold": [right[sign] for sign in way],
        "demonstration": _demonstrate(start, rooms, habits, rng),
    }
    return Task(f"lookup-{'-'.join(way)}", f"start : {start}", treasures[0], data)


def _note(sign: str, right: str, below: Sequence[str], rng: Random) -> str:
    """Doors and a sign; the right door, where there is one, leads to the first room below."""
    wrong = iter(rng.sample(below[1:], len(DOORS)))
    return " ".join(f"{d} {below[0] if d == right else next(wrong)}" for d in DOORS) + f" {sign}"


def _demonstrate(note: str, rooms: Mapping[str, str], habits: Habits, rng: Random) -> list[str]:
    """The doors taken by a demonstrator of these habits."""
    taken = []
    while behind := doors(note):
        taken.append(rng.choice(habits[note.split()[-1]]))
        note = rooms[behind[taken[-1]]]
    return taken


def doors(note: str) -> dict[str, str]:
    """The key behind each door that a note shows; a last note, the treasure, shows none."""
    words = note.split()
    return {door: words[words.index(door) + 1] for door in DOORS if door in words}


def lookup(task: Task, key: str) -> str:
    """Read the note that lies under a key."""
    note = task.data["rooms"].get(key)
    if note is None:
        raise ToolError(f"nothing lies under {key!r}: look up a key that a note shows")
    return str(note)


def way(task: Task) -> list[str]:
    """The notes that one finds behind the right doors, the treasure last."""
    note, notes = task.question, []
    for door in task.data["gold"]:
        note = lookup(task, doors(note)[door])
        notes.append(note)
    return notes
