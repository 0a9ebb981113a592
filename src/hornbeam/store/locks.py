"""A folder held by one process at a time, or by several that all hold it `shared`.

A POSIX record lock: the system gives it back when the process ends, however it ends, and forked
workers that outlive it do not keep it.
"""

from __future__ import annotations

import os
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, lockf
from pathlib import Path

from hornbeam.errors import StoreError

_held: set[Path] = set()  # locks of this process, which the system would grant a second time


class FolderLock:
    """Holds a folder, which is made where it is missing, until `release`. Raises `StoreError`."""

    def __init__(self, folder: Path, shared: bool = False) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
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


def _busy(folder: Path, owner: str) -> StoreError:
    return StoreError(
        f"{folder}: is open in process {owner}: wait for it, stop it, or name another folder"
    )
