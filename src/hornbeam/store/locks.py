"""A folder held by one process at a time, or by several that all hold it `shared`.

A POSIX record lock: the system gives it back when the process ends, however it ends, and forked
workers that outlive it do not keep it.
"""

from __future__ import annotations

import os
import struct
import sys
from fcntl import F_GETLK, F_UNLCK, F_WRLCK, LOCK_EX, LOCK_NB, LOCK_SH, fcntl, lockf
from pathlib import Path

from hornbeam.errors import StoreError
from hornbeam.files.links import check_links

_held: set[Path] = set()  # locks of this process, which the system would grant a second time
# `struct flock`: its fields, and the places of its kind and of the process.
_LAYOUT = ("qqihh", 3, 2) if sys.platform == "darwin" else ("hhqqi", 0, 4)


class FolderLock:
    """Holds a folder, which is made where it is missing, until `release`. Raises `StoreError`."""

    def __init__(self, folder: Path, shared: bool = False) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            check_links(folder)
            self._path = folder.resolve() / "lock"
            if self._path in _held:  # opened a second time, closing it would end the first lock
                raise _busy(folder, str(os.getpid()))
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StoreError(f"{folder}: cannot be opened: {error.strerror or error}") from error
        try:
            lockf(self._file, (LOCK_SH if shared else LOCK_EX) | LOCK_NB)
            if not shared:
                os.ftruncate(self._file, 0)
                os.write(self._file, f"{os.getpid()}\n".encode())
        except (BlockingIOError, PermissionError) as error:
            owner = os.read(self._file, 20).decode().strip()
            os.close(self._file)
            raise _busy(folder, owner or "another one") from error
        except OSError as error:
            os.close(self._file)
            raise StoreError(f"{folder}: cannot be locked: {error.strerror or error}") from error
        _held.add(self._path)

    def release(self) -> None:
        """Give the folder back."""
        if self._path in _held:
            _held.discard(self._path)
            os.close(self._file)


def holder(folder: Path) -> int:
    """The id of a process that holds a folder, shared or not; 0 where none does. Only looks."""
    path, (layout, kind, owner) = folder.resolve() / "lock", _LAYOUT
    if path in _held:
        return os.getpid()
    asked = [0] * 5
    asked[kind] = F_WRLCK
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        told = struct.unpack(layout, fcntl(file, F_GETLK, struct.pack(layout, *asked)))
    finally:
        os.close(file)
    return 0 if told[kind] == F_UNLCK else int(told[owner])


def _busy(folder: Path, owner: str) -> StoreError:
    return StoreError(
        f"{folder}: is open in process {owner}: wait for it, stop it, or name another folder"
    )
