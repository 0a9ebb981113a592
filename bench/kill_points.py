"""Counts what a process writes below a folder, and kills it with SIGKILL at one of these writes.

A write is a commit of the database that changes something, a table made, a file opened to be
written (an open that makes it or empties it), safetensors and torch files, a rename, a folder made,
a file or a folder removed. A kill falls `before` a write, in the middle of it (`half`: half of the
bytes are there, where it has bytes), or `after` it. Used by kills.py.
"""

from __future__ import annotations

import builtins
import io
import os
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

FLAGS = set("wax+")


class Points:
    """The writes of this process below `root`; it dies at number `at`, `when` says at which side.

    With `log` what was written is appended there, one line a write.
    """

    def __init__(self, root: Path, at: int = -1, when: str = "", log: Path | None = None) -> None:
        self.root, self.at, self.when, self.log = str(root.resolve()), at, when, log
        self.count = 0
        self.pid = os.getpid()
        self.over = False  # whether there was nothing left to do after the kill

    def install(self) -> None:
        """Put the counter below everything that writes."""
        for name in ("replace", "rename", "unlink", "remove", "mkdir", "rmdir"):
            setattr(os, name, self._around(getattr(os, name), name))
        builtins.open = io.open = self._opened(io.open)  # type: ignore[assignment]
        self._databases()
        self._weights()

    # --- the moments -------------------------------------------------------------------------

    def _inside(self, path: Any) -> bool:
        if os.getpid() != self.pid or isinstance(path, int):
            return False
        return os.path.abspath(os.fsdecode(path)).startswith(self.root + os.sep)

    def _told(self, path: Any) -> str:
        """A path as seen from the root."""
        return os.path.relpath(os.fsdecode(path), self.root)

    def _next(self, what: str) -> str:
        """Number the write that comes; which side of it is to be the last."""
        here, self.count = self.count, self.count + 1
        if self.log is not None:
            handle = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(handle, f"{what}\n".encode())
            os.close(handle)
        side = self.when if here == self.at else ""
        if side == "before":
            self._die()
        return side

    def _die(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    # --- files -------------------------------------------------------------------------------

    def _around(self, act: Callable[..., Any], name: str) -> Callable[..., Any]:
        def acted(path: Any, *more: Any, **options: Any) -> Any:
            if options.get("dir_fd") is None and not self._inside(path):
                return act(path, *more, **options)
            side = self._next(f"{name} {self._told(path)}")
            try:
                return act(path, *more, **options)
            finally:
                if side:
                    self._die()

        return acted

    def _opened(self, act: Callable[..., Any]) -> Callable[..., Any]:
        def opened(file: Any, mode: str = "r", *more: Any, **options: Any) -> Any:
            if not FLAGS & set(mode) or not self._inside(file):
                return act(file, mode, *more, **options)
            side = self._next(f"{'append' if 'a' in mode else 'write'} {self._told(file)}")
            stream = act(file, mode, *more, **options)
            if side == "after":
                self._die()
            if side == "half":
                whole = stream.write

                def torn(data: Any) -> None:
                    whole(data[: len(data) // 2])
                    stream.flush()
                    self._die()

                stream.write = torn
                stream.writelines = lambda lines: torn(type(lines[0])().join(lines))
            return stream

        return opened

    def _weights(self) -> None:
        """Files that are written below Python: a half is the whole, cut."""
        import safetensors.torch
        import torch

        def written(act: Callable[..., Any], place: int) -> Callable[..., Any]:
            def write(*given: Any, **options: Any) -> Any:
                path = given[place]
                if not isinstance(path, (str, os.PathLike)) or not self._inside(path):
                    return act(*given, **options)
                side = self._next(f"weights {self._told(path)}")
                out = act(*given, **options)
                if side == "half":
                    os.truncate(path, os.path.getsize(path) // 2)
                if side:
                    self._die()
                return out

            return write

        safetensors.torch.serialize_file = written(safetensors.torch.serialize_file, 1)
        torch.save = written(torch.save, 1)

    # --- databases ---------------------------------------------------------------------------

    def _databases(self) -> None:
        """Commits that change something, and tables made, of SQLite through SQLAlchemy."""
        from sqlalchemy.engine.default import DefaultDialect

        commit, execute = DefaultDialect.do_commit, DefaultDialect.do_execute

        def do_commit(dialect: Any, connection: Any) -> None:
            real = getattr(connection, "dbapi_connection", connection)
            changes = isinstance(real, sqlite3.Connection) and real.in_transaction
            side = self._next("commit") if changes else ""
            commit(dialect, connection)
            if side:
                self._die()

        def do_execute(dialect: Any, cursor: Any, statement: str, *more: Any) -> None:
            side = self._next("table") if statement.lstrip()[:6].upper() == "CREATE" else ""
            execute(dialect, cursor, statement, *more)
            if side:
                self._die()

        DefaultDialect.do_commit = do_commit  # type: ignore[method-assign]
        DefaultDialect.do_execute = do_execute  # type: ignore[method-assign]
