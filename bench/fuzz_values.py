"""Changes of records and of the bytes of a file, all drawn from one generator."""

from __future__ import annotations

import copy
import gzip
import json
import random
from typing import Any

DEEP: Any = "deep"
for _ in range(60):
    DEEP = [DEEP]
HOSTILE: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, -7, 10**30, -(10**30), 0.5, -0.25, 1e308, -0.0),
    *(float("nan"), float("inf"), float("-inf"), "", " ", "0", "nan", "x" * 300),
    *("\u0000", "\ud800"),
    *([], [[]], [None], {}, {"": None}, {"a": [1]}, [1, "2"], ["stop"], {"role": 3}, DEEP),
)  # fmt: skip


def hostile(rng: random.Random) -> Any:
    """One of the values, as nobody else holds it."""
    return copy.deepcopy(rng.choice(HOSTILE))


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of everything inside a value."""
    found = [path] if path else []
    if isinstance(value, dict):
        for key in value:
            found += places(value[key], (*path, key))
    elif isinstance(value, list):
        for i in range(len(value)):
            found += places(value[i], (*path, i))
    return found


def mutate(rows: list[Any], rng: random.Random) -> list[Any]:
    """One to three changes of values, keys or entries, anywhere in the rows."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        paths = places(rows)
        if not paths:
            break
        path = rng.choice(paths)
        inside: Any = rows
        for step in path[:-1]:
            inside = inside[step]
        _change(inside, path[-1], rng)
    return rows


def _change(inside: Any, key: Any, rng: random.Random) -> None:
    what = rng.choice(("set", "set", "set", "kind", "drop", "add", "twice", "name"))
    if what == "drop":
        del inside[key]
    elif what == "twice" and isinstance(inside, list):
        inside.insert(key, inside[key])
    elif what == "add" and isinstance(inside, list):
        inside.insert(rng.randrange(len(inside) + 1), hostile(rng))
    elif what == "add":
        inside[rng.choice(("extra", "", "id", "value", "type", str(key) + "s"))] = rng.choice(
            HOSTILE
        )
    elif what == "name" and isinstance(inside, dict):
        inside[rng.choice((str(key).upper(), str(key)[:-1], " " + str(key)))] = inside.pop(key)
    elif what == "kind":
        inside[key] = _other_kind(inside[key], rng)
    else:
        inside[key] = hostile(rng)


def _other_kind(value: Any, rng: random.Random) -> Any:
    """The same thing as a value of another kind."""
    ways: tuple[Any, ...] = (str(value), [value], {"value": value})
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        ways = (*ways, -value, value + 0.5, value * 10**6)
    return rng.choice(ways)


def damage(rows: list[Any], zipped: bool, rng: random.Random) -> bytes:
    """The file: most often whole, else with its bytes changed."""
    try:
        text = "".join(json.dumps(row, ensure_ascii=rng.random() < 0.5) + "\n" for row in rows)
        data = text.encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        data = b"[" * 50
    if rng.random() < 0.15:
        data = damaged_bytes(data, rng)
    if zipped:
        data = gzip.compress(data, 1)
        if rng.random() < 0.5:
            data = damaged_bytes(data, rng)
    return data


def damaged_bytes(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    what = rng.choice(("cut", "flip", "insert", "join", "empty", "mark", "repeat"))
    if what == "cut":
        return data[:at]
    if what == "flip" and data:
        at = min(at, len(data) - 1)
        return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]
    if what == "insert":
        return (
            data[:at] + rng.choice((b"\x00", b"\xff\xfe", b"NaN", b"\n", b"}", b"\r")) + data[at:]
        )
    if what == "join":
        return data.replace(b"\n", b"", 1)
    if what == "mark":
        return b"\xef\xbb\xbf" + data
    return b"" if what == "empty" else data + data[:at]
