"""A text game of rooms, keys and doors, in which what is done cannot be undone.

    start : harp : k12 : ash left elm right : ash : left k12 middle k12 right k12 : k12 k40

asks for the harp; the key k12 will be needed; behind a room's sign stands the door that leads on
(where `told`); then what is seen: the sign of this room, its doors (a locked one with the key that
fits), the things that lie here, and what is held. Doors lead one way. A key opens one of the doors
that it fits, and breaks. To take a treasure ends the game: won with the one that was asked for. A
wrong door leads among rooms that look like all others and hold other treasures. Every call of a
tool takes one of the turns, a refused one too.
The tools are those of `hornbeam.tasks.key_door_game`; levels have more rooms, locks and keys that
fit nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from hornbeam.arguments import short
from hornbeam.errors import DataError
from hornbeam.tasks.key_door_game import OVER, World, describe, played, solve
from hornbeam.tasks.lookup_world import DOORS, KEYS, SIGNS, TREASURES, rule
from hornbeam.tasks.word_problems import held_out
from hornbeam.tree.task import Task

# level -> doors to pass, rooms with locked doors, keys a room that fit nothing, wrong treasures
SETS = ("rooms", "keys", "distractors", "others")
LEVELS = {1: (2, 1, 0, 0), 2: (3, 1, 1, 0), 3: (4, 2, 1, 1), 4: (6, 3, 1, 2), 5: (8, 5, 2, 2)}
BESIDE = 3  # rooms at each distance from the start: the right one first
OTHERS = 4  # names of keys that fit nothing
LIES = 0.8  # how often a room has the key that those at its distance can have
TRIES = 2000  # draws for one game before it is said that no more can be made


# --- tasks ----------------------------------------------------------------------------------------


def key_door_tasks(
    split: str = "train",
    count: int = 100,
    seed: int = 0,
    level: int = 2,
    rooms: int | None = None,
    keys: int | None = None,
    distractors: int | None = None,
    others: int | None = None,
    carry: int = 1,
    slack: int = 2,
    signs: int = 12,
    told: bool = True,
    known: float = 1.0,
    world: int = 0,
) -> list[Task]:
    """`count` different games that can be won, equal for equal arguments.

    `level` sets `rooms` (doors to pass), `keys` (how many of these rooms have locked doors),
    `distractors` (keys a room that fit nothing) and `others` (treasures beside the one that is
    asked for), see `LEVELS`. A key lies in the room of its lock or up to `carry` rooms before.
    There are `slack` turns more than the shortest way takes, `data["least"]`. `world` seeds which
    door leads on by which of the `signs`; where it is not `told`, it must be found out, and only
    games whose signs on the way are among the share `known` have `data["demonstration"]`: the
    shortest way, found by search (each command with what is heard of it). The question, and the
    signs on the way, decide whether a game belongs to train or test, whatever the seed.
    """
    if split not in ("train", "test"):
        raise DataError(f"key_door has the splits train and test, not {split!r}")
    given = dict(zip(SETS, LEVELS.get(level, (1,) * len(SETS))))
    asked = zip(SETS, (rooms, keys, distractors, others))
    given |= {name: value for name, value in asked if value is not None}
    more = {"level": level, "carry": carry, "slack": slack, "signs": signs, "known": known}
    _check({**more, **given})
    right = rule(signs, world)
    wise = Random(f"key_door known/{world}").sample(sorted(right), round(known * len(right)))
    rng = Random(f"key_door/{split}/{seed}/{given}/{carry}/{slack}/{signs}/{told}/{world}")
    seen: set[str] = set()
    tasks: list[Task] = []
    while len(tasks) < count:
        for _ in range(TRIES):
            way = [rng.choice(SIGNS[:signs]) for _ in range(given["rooms"])]
            if held_out("-".join(way)) != (split == "test"):
                continue
            game = _drawn(way, right, given, carry, rng)
            task = _task(game, way, right if told else {}, slack, {*way} <= {*wise})
            fits = task and held_out(task.question) == (split == "test")
            if task and fits and (as_text := json.dumps(game)) not in seen:
                break
        else:
            raise DataError(f"only {len(tasks)} different key_door games could be made of {count}")
        seen.add(as_text)
        name = f"key_door-{split}-{seed}-{len(tasks)}"
        tasks.append(Task(name, task.question, task.answer, task.data))
    return tasks


def _check(given: Mapping[str, Any]) -> None:
    """Raise `DataError` for a number that is none, or too large or small."""
    bounds = {
        "level": (1, len(LEVELS)),
        "carry": (0, 12),
        "slack": (0, 100),
        "signs": (1, len(SIGNS)),
        "known": (0, 1),
        "rooms": (1, 12),
        "keys": (0, given["rooms"]),
        "distractors": (0, OTHERS),
        "others": (0, len(TREASURES) - 3),
    }
    for name, (low, high) in bounds.items():
        value, kinds = given[name], (int, float) if name == "known" else (int,)
        if type(value) not in kinds or not low <= value <= high:
            raise DataError(f"key_door: {name} is {short(value)} and must lie in {low} to {high}")


def _drawn(
    way: Sequence[str],
    right: Mapping[str, str],
    given: Mapping[str, int],
    carry: int,
    rng: Random,
) -> World:
    """A game; whether it can be won nobody knows yet."""
    keys, others = given["keys"], given["others"]
    names = rng.sample(KEYS[: keys + OTHERS], keys + OTHERS)
    locked = dict(zip(sorted(rng.sample(range(len(way)), keys)), names))
    lying: dict[int, list[str]] = {}
    for place, key in locked.items():
        lying.setdefault(rng.randint(max(0, place - carry), place), []).append(key)
    treasures = rng.sample(TREASURES[: others + 3], others + 3)
    rooms: dict[str, Any] = {}
    for place in range(len(way) + 1):
        last = place == len(way)
        for beside in range(1 if place == 0 else BESIDE):
            sign = rng.choice(sorted(right)) if beside or last else way[place]
            things = [key for key in lying.get(place, ()) if rng.random() < LIES]
            things += rng.sample(names[keys:], given["distractors"])
            if last:
                things = rng.sample(treasures[1:], others + (beside > 0)) + treasures[: beside == 0]
            rng.shuffle(things)
            on = {} if last else _ways(place + 1, right[sign] if beside == 0 else "", rng)
            rooms[f"r{place}.{beside}"] = {
                "sign": sign,
                "to": on,
                "lock": locked.get(place, ""),
                "open": [],
                "things": things,
            }
    return {"at": "r0.0", "held": [], "goal": treasures[0], "turns": 1, "end": "", "rooms": rooms}


def _ways(place: int, right: str, rng: Random) -> dict[str, str]:
    """Where the doors lead: the right one, where there is one, to the first room."""
    wrong = [f"r{place}.{rng.randint(1, BESIDE - 1)}" for _ in DOORS]
    return {door: f"r{place}.0" if door == right else at for door, at in zip(DOORS, wrong)}


def _task(
    game: World, way: Sequence[str], told: Mapping[str, str], slack: int, shown: bool
) -> Task | None:
    """The task of a game, None where it cannot be won."""
    moves = solve(game)
    if moves is None:
        return None
    game["turns"] = len(moves) + slack
    needed = sorted({move[1] for move in moves if move[0] == "use"})
    parts = [["start"], [game["goal"]], needed]
    if told:
        parts.append([word for sign in sorted({*way}) for word in (sign, told[sign])])
    question = " : ".join([*(" ".join(part) for part in parts if part), describe(game)])
    data: dict[str, Any] = {"world": game, "least": len(moves)}
    heard = played(game, moves)[1]
    if shown or told:
        data["demonstration"] = [[" ".join(m), said] for m, said in zip(moves, heard)]
    return Task("", question, OVER[0], data)
