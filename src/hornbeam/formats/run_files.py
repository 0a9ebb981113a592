"""Files of runs: which format a file is in, and the runs in it, each with its place in the file."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from hornbeam.errors import DataError
from hornbeam.files.json_text import parse_foreign
from hornbeam.formats.chats import CHATS
from hornbeam.formats.inspect_logs import INSPECT, archived, is_log, samples
from hornbeam.formats.lightning import LIGHTNING
from hornbeam.formats.recorded_run import PLAIN, Format, ImportedRun, Options, Records
from hornbeam.formats.rllm import RLLM
from hornbeam.formats.verifiers import RESULTS, TRACES
from hornbeam.settings import nearest

# In the order in which they are tried: the one that asks for most first.
FORMATS = {f.name: f for f in (INSPECT, TRACES, RLLM, LIGHTNING, RESULTS, CHATS)}


def read_runs(
    path: Path, name: str = "", options: Options = PLAIN
) -> tuple[str, Iterator[tuple[str, list[ImportedRun] | DataError]]]:
    """(format, for each record of a file where it stands and its runs, or why there are none).

    `name` forces a format. Raises `DataError` where the file cannot be read or no format is known.
    """
    if name and name not in FORMATS:
        raise DataError(f"unknown format {name!r}: {nearest(name, FORMATS)}")
    records = list(_records(path))
    if not records:
        raise DataError(f"{path}: holds nothing to import")
    how = FORMATS[name] if name else _format(path, records)
    return how.name, _runs(how, iter(records), options)


def _runs(
    how: Format, records: Records, options: Options
) -> Iterator[tuple[str, list[ImportedRun] | DataError]]:
    for where, record in how.group(records) if how.group else records:
        if isinstance(record, DataError):
            yield where, record
            continue
        try:
            if not isinstance(record, Mapping):
                raise DataError(f"a JSON object is expected, not {record!r:.60}")
            yield where, list(how.read(record, options))
        except DataError as error:
            yield where, error
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            yield where, DataError(f"not as {how.name} writes it: {type(error).__name__}: {error}")


def _format(path: Path, records: Iterable[tuple[str, Any]]) -> Format:
    """The format that the first record which is JSON looks like."""
    for _, record in records:
        if isinstance(record, DataError):
            continue
        for how in FORMATS.values():
            if how.fits(record):
                return how
        if _is_tree(record):
            raise DataError(
                f"{path}: these are trees already: every command reads them as they are"
                " (--tools-as-text, and nothing beside --out, writes their tools as text)"
            )
        keys = (
            f" (keys {', '.join(map(repr, list(record)[:6]))})" if isinstance(record, dict) else ""
        )
        raise DataError(
            f"{path}: not a format that is known{keys}: one of {', '.join(FORMATS)};"
            " --format forces one"
        )
    raise DataError(f"{path}: no line of it is JSON")


def holds_trees(path: Path) -> bool:
    """Whether the first record of a file is a tree. Raises `DataError` where it cannot be read."""
    return any(_is_tree(record) for _, record in islice(_records(path), 1))


def _is_tree(record: Any) -> bool:
    return isinstance(record, dict) and {"task", "nodes"} <= set(record)


def _records(path: Path) -> Records:
    """Every record of a file: lines, or what one JSON document holds."""
    if path.suffix == ".eval":
        yield from archived(path)
        return
    text = _text(path)
    if path.name.removesuffix(".gz").endswith(".json"):
        try:
            whole = parse_foreign(text)
        except ValueError as error:
            raise DataError(f"{path}: not JSON: {error}") from error
        if is_log(whole):
            yield from samples(whole, str(path))
        elif isinstance(whole, list):
            yield from ((f"{path}, item {number}", each) for number, each in enumerate(whole, 1))
        else:
            yield str(path), whole
        return
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            yield f"{path}, line {number}", parse_foreign(line)
        except ValueError as error:
            yield f"{path}, line {number}", DataError(f"not JSON: {error}")


def _text(path: Path) -> str:
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8-sig") as stream:
            return str(stream.read())
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise DataError(f"{path}: a folder: name its files, as {path}/*.json") from error
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
