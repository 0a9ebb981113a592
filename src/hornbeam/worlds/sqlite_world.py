"""Worlds that are SQLite databases, copied by SQLite's own backup."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Self

from hornbeam.arguments import described
from hornbeam.errors import RecipeError, WorldError
from hornbeam.files import paths
from hornbeam.tree.task import Task
from hornbeam.worlds.scratch import delete_folder, new_place
from hornbeam.worlds.world_kind import START, Snapshot, WorldKind


class Database:
    """What tools of an SQLite world get: `connection`, and the file's `path`.

    Each statement is a transaction of its own, unless one begins one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self.connection.execute("PRAGMA synchronous=OFF")  # it does not outlive its episode

    def __repr__(self) -> str:
        return f"<Database {self.path}>"

    def execute(self, sql: str, parameters: Any = ()) -> list[list[Any]]:
        """The rows of a statement."""
        return [list(row) for row in self.connection.execute(sql, parameters)]


class SqliteWorld(WorldKind):
    """A database of its own for each episode: a copy of `file`, then the task's own script.

    `file` is a database, or a script (.sql). `task.data["world"]` is a script.
    """

    file: str = ""
    scratch: str = ""

    def beside(self, base: Path) -> Self:
        """With its file found. Raises `RecipeError`."""
        if not self.file:
            return self
        found = paths.find(self.file, base)
        if not found.is_file():
            raise RecipeError(f"world.file = {self.file!r}: {paths.missing(self.file, base)}")
        return self.model_copy(update={"file": str(found.resolve())})

    def open(self, task: Task) -> Database:
        """A new database. Raises `WorldError`."""
        script = task.data.get(START) or ""
        if not isinstance(script, str):
            raise WorldError(f'task.data["world"] is {described(script)}: a script of SQL is due')
        if self.file.endswith(".sql"):
            script = Path(self.file).read_text("utf-8") + "\n" + script
        world = self._copy(Path(self.file)) if self._is_database else Database(self._place())
        try:
            world.connection.executescript(script)
        except sqlite3.Error as error:
            self.close(world)
            raise WorldError(f"the script of the world's database: {error}") from error
        return world

    @property
    def _is_database(self) -> bool:
        return bool(self.file) and not self.file.endswith(".sql")

    def snapshot(self, world: Database) -> Snapshot:
        """A copy. Raises `WorldError`, where a transaction is open too."""
        if world.connection.in_transaction:
            raise WorldError(
                "a transaction of the world's database is open after the step: commit it or roll it"
                " back within the call"
            )
        (pages,), (page,) = world.execute("PRAGMA page_count") + world.execute("PRAGMA page_size")
        self.check_size(pages * page)
        place = self._place()
        try:
            with closing(sqlite3.connect(place)) as copy:
                copy.execute("PRAGMA synchronous=OFF")
                world.connection.backup(copy)
        except sqlite3.Error as error:
            delete_folder(place.parent)
            raise WorldError(f"the world's database cannot be copied: {error}") from error
        return Snapshot(place, pages * page)

    def state(self, world: Database) -> list[str]:
        """The statements that make its tables and rows."""
        return [*world.connection.iterdump()]

    def restore(self, data: Path, task: Task) -> Database:
        """Another copy."""
        return self._copy(data)

    def _copy(self, source: Path) -> Database:
        world = Database(self._place())
        try:
            with closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as read:
                read.backup(world.connection)
        except sqlite3.Error as error:
            self.close(world)
            raise WorldError(f"the world's database {source.name}: {error}") from error
        return world

    def drop(self, data: Path) -> None:
        """Delete the copy."""
        delete_folder(data.parent)

    def close(self, world: Database) -> None:
        """Close and delete the database."""
        world.connection.close()
        delete_folder(world.path.parent)

    def portable(self, world: Database, text: str) -> str:
        """The path of its folder as "."."""
        return text.replace(str(world.path.parent), ".")

    def _place(self) -> Path:
        """The path of a new file, in a folder of its own."""
        return new_place(self.scratch) / "world.db"
