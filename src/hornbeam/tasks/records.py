"""Records on disk, errors that name file and line: JSON lines, plain or gzip, and tables."""

from __future__ import annotations

import csv
import gzip
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from hornbeam.errors import DataError
from hornbeam.files.json_text import parse_json
from hornbeam.files.paths import check_file

T = TypeVar("T")
HALF = re.compile(r"\\u[dD][89a-fA-F]")  # perhaps half a surrogate pair


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
            record = parse_json(line)
            if HALF.search(line):
                json.dumps(record, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            wrong = "a text with half a surrogate pair, which UTF-8 has no form for"
            raise DataError(f"{path}, line {number}: {wrong}") from error
        except ValueError as error:
            raise DataError(f"{path}, line {number}: not JSON ({error})") from error
        if not isinstance(record, dict):
            raise DataError(f"{path}, line {number}: a JSON object is expected, one a line")
        count += 1
        yield number, record
    if not count:
        raise DataError(f"{path}: the file is empty; one JSON object a line is expected")


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number, row) of a file by its ending: .csv and .tsv with a head, .parquet, else JSON lines.

    The number is that of the line, in a .parquet file of the row from 1. Cells of .csv are texts.
    """
    ending = path.suffix.lower()
    if ending not in (".csv", ".tsv", ".parquet"):
        yield from read_records(path)
        return
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    count = 0
    try:
        rows = _parquet(path) if ending == ".parquet" else _table(path, ending)
        for count, (number, row) in enumerate(rows, 1):  # noqa: B007
            yield number, row
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:  # ArrowInvalid is one
        raise DataError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from error
    if not count:
        raise DataError(f"{path}: the table has no row")


def _table(path: Path, ending: str) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        rows = csv.DictReader(stream, delimiter="\t" if ending == ".tsv" else ",", strict=True)
        for row in rows:
            if None in row or None in row.values():
                many = "more" if None in row else "fewer"
                raise DataError(f"{path}, line {rows.line_num}: {many} cells than the head names")
            yield rows.line_num, row


def _parquet(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    from pyarrow import parquet  # type: ignore[import-untyped]

    number = 0
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches():
            for row in batch.to_pylist():
                number += 1
                yield number, row


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    check_file(path)
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8") as file:
            yield from enumerate(file, 1)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: cannot be read: {reason}") from error
