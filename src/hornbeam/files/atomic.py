"""Files and folders that are there whole or not at all, whatever ends the process.

What is written stands beside its place under a hidden name, is brought to the disk, and is renamed
into place. What a killed process left there goes with the next write of the same name.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def whole_file(path: str | Path, mode: str = "w") -> Iterator[Any]:
    """A stream to write a file by ("w": UTF-8, "wb"), which takes its place at the block's end.

    A pipe or a device is written to as it is; of a link what it leads to is replaced. Raises
    `OSError`; after any error what stood there stays.
    """
    path = Path(os.path.realpath(path))
    encoding = None if "b" in mode else "utf-8"
    if path.exists() and not path.is_file():
        with open(path, mode, encoding=encoding) as stream:
            yield stream
        return
    part = path.with_name(f".{path.name}.part")
    try:
        part.unlink(missing_ok=True)  # or what a killed process left, or a link that leads away
        with open(part, mode.replace("w", "x"), encoding=encoding) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync(path.parent)


@contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """An empty folder to fill, which takes the place of `path` at the block's end.

    Raises `OSError`; after any error what stood there stays.
    """
    path = Path(os.path.abspath(path))
    part, old = path.with_name(f".{path.name}.part"), path.with_name(f".{path.name}.old")
    if old.exists() and not path.exists():  # killed between the two renames below
        old.rename(path)
    for left in (part, old):
        shutil.rmtree(left, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        yield part
        for inner in [*sorted(part.rglob("*")), part]:
            sync(inner)
        if path.exists() and any(path.iterdir()):
            path.rename(old)
        part.rename(path)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    sync(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def sync(path: Path) -> None:
    """Bring a file's bytes, or a folder's names, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
