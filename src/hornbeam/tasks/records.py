"""JSON lines on disk, plain or gzip: one object a line, errors that name file and line."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from hornbeam.errors import DataError

T = TypeVar("T")


def sample(items: Sequence[T], count: int | None, seed: int = 0) -> list[T]:
    """`count` of the items, drawn from a seed, in their order; all where there are no more.

    Files come sorted (by difficulty, by class), so their first rows are no picture of the rest.
    """
    if count is None or count >= len(items):
        return list(items)
    return [items[i] for i in sorted(Random(seed).sample(range(len(items)), count))]


def read_records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) of every line that is not blank.

    Raises `DataError` for a file that is missing, unreadable or empty, and for a malformed line.
    """
    count = 0
    for number, line in _lines(path):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}, line {number}: not JSON ({error})") from error
        if not isinstance(record, dict):
            raise DataError(f"{path}, line {number}: a JSON object is wanted, one a line")
        count += 1
        yield number, record
    if not count:
        raise DataError(f"{path}: the file is empty; one JSON object a line is wanted")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8") as file:
            yield from enumerate(file, 1)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
