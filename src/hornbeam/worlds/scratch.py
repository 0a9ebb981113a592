"""Places for folders that do not outlive their process, however that ends.

A process has one folder, with a file that it locks; what dead processes left is deleted by the next
one that asks for a place.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
import threading
from pathlib import Path
from typing import IO

PREFIX = "hornbeam-worlds-"
_one = threading.Lock()  # worlds are opened in several threads
_roots: dict[tuple[int, str], tuple[Path, IO[str]]] = {}  # by process and folder, with its lock


def new_place(scratch: str) -> Path:
    """An empty folder in `scratch` ("": the system's own), nobody else's."""
    where = scratch or tempfile.gettempdir()
    key = os.getpid(), where
    with _one:
        if key not in _roots or not _roots[key][0].is_dir():
            _sweep(where)
            _roots[key] = _root(where)
            if len(_roots) == 1:
                atexit.register(_end)
    return Path(tempfile.mkdtemp(dir=_roots[key][0]))


def delete_folder(path: Path) -> None:
    """Delete a folder, write-protected ones in it too."""
    shutil.rmtree(path, ignore_errors=True)
    if path.exists():
        for here, _, _ in os.walk(path):
            os.chmod(here, 0o700)
        shutil.rmtree(path, ignore_errors=True)


def _root(where: str) -> tuple[Path, IO[str]]:
    root = Path(tempfile.mkdtemp(prefix=PREFIX, dir=where)).resolve()
    lock = (root / "lock.new").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    (root / "lock.new").rename(root / "lock")  # from now on it can be swept
    return root, lock


def _sweep(where: str) -> None:
    """Delete what dead processes left."""
    for lock in Path(where).glob(f"{PREFIX}*/lock"):
        try:
            with lock.open("r") as held:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                delete_folder(lock.parent)
        except OSError:  # it lives, or is another user's
            continue


def _end() -> None:
    for (process, _), (root, lock) in list(_roots.items()):
        if process == os.getpid():
            delete_folder(root)
            lock.close()
