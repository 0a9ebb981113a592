"""A store that several processes write, and that may go away for a while.

What fails because the database does not answer is tried again, with one message, for `PATIENCE`
seconds. Each write is numbered in the row of whoever writes, so that one whose end was not heard of
is not written twice. The same row is a fence: who has been given up (see leases) writes no more.

Left out: who may write what (leases), what is written (database, request_queue).
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from hornbeam.errors import StoreError
from hornbeam.store.cells import TextCell, WholeCell
from hornbeam.store.database import Store, Stored, TreeKey
from hornbeam.store.locks import FolderLock
from hornbeam.store.tables import METRICS, SCHEMA, error_line, keyed, open_file, open_url, passing
from hornbeam.tree.nodes import Tree

PATIENCE = 600.0  # seconds that a database may be away
AT_OPENING = 5.0  # seconds, for then the address may be wrong
T = TypeVar("T")

LEASES = sa.Table(
    "members",
    SCHEMA,
    *keyed(TextCell, "policy"),
    sa.Column("session", WholeCell, nullable=False),  # one more whenever the lease changes hands
    sa.Column("owner", TextCell, nullable=False),  # HOST:PID, "" where nobody sits
    sa.Column("host", TextCell, nullable=False),  # where that PID means something
    sa.Column("since", TextCell, nullable=False),  # told to people, never compared
    sa.Column("beat", WholeCell, nullable=False),
    sa.Column("writes", WholeCell, nullable=False),  # of this session
)


class DatabaseUnreachable(StoreError):
    """The database does not answer at the moment."""


class Session(NamedTuple):
    """One process that holds the lease of one policy."""

    policy: str
    number: int


def connect(place: str) -> sa.Engine:
    """The database of a run folder or at a URL, for one thread."""
    if "://" in place:
        return open_url(place)
    return open_file(Path(place) / "run.db", False, patience=60)


class SharedStore(Store):
    """A `Store` that several processes write. Without a `session` it writes unfenced."""

    def __init__(self, place: str | Path, say: Callable[[str], None]) -> None:
        self.address, self._say, self.session = str(place), say, Session("", 0)
        self._fenced, self._writes, self._patience = False, 0, AT_OPENING
        super().__init__(place)
        self._patience = PATIENCE

    def _open_folder(self, folder: Path) -> sa.Engine:
        self._lock = FolderLock(folder, shared=True)
        return connect(str(folder))

    def _prepare(self) -> None:
        self.patiently(super()._prepare)

    @property
    def dialect(self) -> str:
        """The kind of database."""
        return self._engine.dialect.name

    # --- patience ----------------------------------------------------------------------------

    def patiently(self, do: Callable[[], T]) -> T:
        """What `do` returns, tried again while the database is away."""
        began, pause, waiting = time.monotonic(), 0.05, False
        while True:
            try:
                out = do()
            except DatabaseUnreachable as error:
                if time.monotonic() - began > self._patience:
                    raise
                if not waiting and pause > 1:
                    self._say(f"Waiting for the database: {error}")
                    waiting = True
                time.sleep(pause)
                pause = min(2 * pause, 2.0)
            else:
                if waiting:
                    away = time.monotonic() - began
                    self._say(f"The database is back after {away:.0f} s; nothing was lost")
                return out

    @contextmanager
    def _begin(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as db:
                if self._fenced and self.session.number:
                    self._pass(db)
                yield db
        except (SQLAlchemyError, sqlite3.Error) as error:
            raced = self._patience == AT_OPENING and "already exists" in str(error)  # for tables
            kind = DatabaseUnreachable if raced or passing(error) else StoreError
            raise kind(f"{self.place}: {error_line(error)}") from error

    def _mine(self) -> sa.ColumnElement[bool]:
        return (LEASES.c.policy == self.session.policy) & (LEASES.c.session == self.session.number)

    def _pass(self, db: sa.Connection) -> None:
        """NumberCell this write; `StoreError` for whoever has been given up."""
        passed = db.execute(sa.update(LEASES).where(self._mine()).values(writes=self._writes))
        if not passed.rowcount:
            raise StoreError(
                f"policy {self.session.policy!r}: this process was silent for longer than its"
                " lease and has been given up: run it again, it goes on from its checkpoint"
            )

    # --- writing -----------------------------------------------------------------------------

    def write_once(self, act: Callable[[sa.Connection], T]) -> T:
        """Run `act` in one fenced transaction, behind all that was written before.

        It is run again where its end was not heard of: twice must be once.
        """
        self.flush()

        def once() -> T:
            self._fenced = True
            try:
                with self._begin() as db:
                    return act(db)
            finally:
                self._fenced = False

        self._writes += 1
        return self.patiently(once)

    def later(self, statement: Any, row: Mapping[str, Any] | None = None) -> None:
        """Execute a statement with what else is written at the end of this tick."""
        self._ops.append((statement, dict(row or {})))
        self._touch()

    def flush(self) -> None:
        """Write all that is buffered in one fenced transaction, once."""
        self._soon = None
        if not (self._ops or self._pending or self._costs):
            return
        self._writes += 1
        tries = 0

        def once() -> None:
            nonlocal tries
            tries += 1
            if tries > 1 and self._is_written():
                for buffer in (self._ops, self._pending, self._costs):
                    buffer.clear()
            self._fenced = True
            try:
                super(SharedStore, self).flush()
            finally:
                self._fenced = False

        self.patiently(once)

    def _is_written(self) -> bool:
        """Whether the last write, whose end was not heard of, is in the database."""
        if not self.session.number:
            return False
        with self._begin() as db:
            found = db.execute(sa.select(LEASES.c.writes).where(self._mine())).scalar()
        return found == self._writes

    def begin(self, key: TreeKey, tree: Tree) -> None:
        """A new tree, its task and the nodes it has already."""
        self.patiently(lambda: super(SharedStore, self).begin(key, tree))

    def forget(self, stage: str, step: int, number: int | None = None) -> None:
        """Drop the trees of a step, or one of them."""
        self.patiently(lambda: super(SharedStore, self).forget(stage, step, number))

    def metric(self, row: Mapping[str, Any]) -> None:
        """Keep a row of metrics behind all that others have kept."""

        def last() -> int:  # nothing is written here: what the row belongs to goes with it
            with self._begin() as db:
                found = db.execute(sa.select(sa.func.max(METRICS.c.place))).scalar()
            return -1 if found is None else int(found)

        self._rows = 1 + self.patiently(last)
        super().metric(row)

    # --- reading -----------------------------------------------------------------------------

    def ask(self, query: sa.Select[Any]) -> list[Any]:
        """The rows of a query, what is buffered here included."""
        self.flush()

        def once() -> list[Any]:
            with self._begin() as db:
                return list(db.execute(query).all())

        return self.patiently(once)

    def read(self, key: TreeKey) -> Stored:
        """A tree as it was left."""
        return self.patiently(lambda: super(SharedStore, self).read(key))

    def keys(self, stage: str | None = None, step: int | None = None) -> list[TreeKey]:
        """Keys of all trees (of a stage, of one of its steps), in order."""
        return self.patiently(lambda: super(SharedStore, self).keys(stage, step))

    def metrics(self) -> list[dict[str, Any]]:
        """All rows of metrics in the order written."""
        return self.patiently(super().metrics)

    def get(self, name: str, default: Any = None) -> Any:
        """The JSON value kept under a name."""
        return self.patiently(lambda: super(SharedStore, self).get(name, default))

    def totals(
        self, stage: str | None = None, step: int | None = None, lost: bool | None = None
    ) -> dict[str, float]:
        """Sums by kind of what was paid."""
        return self.patiently(lambda: super(SharedStore, self).totals(stage, step, lost))
