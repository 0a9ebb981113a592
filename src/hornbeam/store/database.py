"""The store: one database a run, for trees, metrics and the ledger.

SQLite in WAL mode in the run folder, or any database that SQLAlchemy's `sqlite` and `postgresql`
dialects speak, by URL. Nodes name their parent and prefix by (episode, step), not by index, so the
order of a tree's nodes is no fact of its own; the task's own node is (-1, 0).

Writes are buffered and go in one transaction at the end of the present tick of the event loop (at
once where none runs), so `kill -9` loses at most the present tick, and a node and what it cost are
kept together or not at all. An error of such a late write is raised by the next call.

What stands in the ledger was paid. Entries for the same (tree, episode, turn, kind) add up. A
replayed call is not paid and must not be entered, so a resumed run counts nothing twice. What was
paid and is in no result stands under stage "lost STAGE": a call that a crash made necessary again,
and what `forget` drops (stage "lost" in folders of old).

Left out: weights (checkpoint), what trees mean (tree), several writers of one run (shared).
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from hornbeam.errors import StoreError
from hornbeam.store.kept_values import KeptValues
from hornbeam.store.keys import Stored, TreeKey
from hornbeam.store.ledger import LOST, Entry
from hornbeam.store.locks import FolderLock
from hornbeam.store.tables import (
    LEDGER,
    META,
    METRICS,
    NODES,
    OPINIONS,
    SCHEMA,
    TREES,
    at,
    checked_metrics,
    cost_row,
    error_line,
    named,
    node_row,
    open_file,
    open_url,
    read_nodes,
    upserts,
)
from hornbeam.tree.jsonl import checked_column, write_trees
from hornbeam.tree.nodes import Column, Node, Tree, canonical

FORMAT = 2
NO_RUN = "its database holds no run: one that was stopped before its first write begins anew"
__all__ = ["LOST", "Store", "Stored", "TreeKey", "canonical", "export"]


class Store(KeptValues):
    """A run's database, open until `close`. `place` is a run folder or a database URL.

    A folder is made where it is missing and held by one writer at a time; `read_only` looks on
    without holding it and never writes. Raises `StoreError`.
    """

    def __init__(self, place: str | Path, read_only: bool = False) -> None:
        self.place, self._read_only = str(place), read_only
        self._lock: FolderLock | None = None
        self._ops: list[tuple[Any, dict[str, Any]]] = []
        self._pending: dict[tuple[TreeKey, int, int], dict[str, Any]] = {}
        self._costs: dict[tuple[str, int, int, str], float] = {}
        self._soon: asyncio.AbstractEventLoop | None = None  # which will flush
        self._failed: StoreError | None = None
        self._rows = 0
        if "://" in self.place:
            self._engine = open_url(self.place)
            self.place = str(self._engine.url)  # without its password
        else:
            self._engine = self._open_folder(Path(place))
        try:
            self._upsert = upserts(self._engine.dialect.name)  # name -> statement
            self._prepare()
        except BaseException:
            self._engine.dispose()
            self._unlock()
            raise

    # --- open and close ----------------------------------------------------------------------

    def _open_folder(self, folder: Path) -> sa.Engine:
        path = folder / "run.db"
        if self._read_only:
            if not path.is_file():
                raise StoreError(
                    f"{folder}: no run here (run.db is missing); another database: --store"
                )
        else:
            self._lock = FolderLock(folder)
        return open_file(path, self._read_only)

    def _prepare(self) -> None:
        with self._begin() as db:
            if not self._read_only:
                SCHEMA.create_all(db)
            elif not sa.inspect(db).has_table(META.name):
                raise StoreError(f"{self.place}: {NO_RUN}")
            found = db.execute(sa.select(META.c.value).where(META.c.name == "format")).scalar()
            rows = db.execute(sa.select(sa.func.max(METRICS.c.place))).scalar()
        self._rows = 0 if rows is None else rows + 1
        if found is None and not self._read_only:
            self.set("format", FORMAT)
            self.flush()
        elif found is None:
            raise StoreError(f"{self.place}: {NO_RUN}")
        elif found != json.dumps(FORMAT):  # a damaged cell is no JSON
            raise StoreError(
                f"{self.place}: written in format {found}, this Hornbeam reads format {FORMAT}"
            )

    def close(self) -> None:
        """Write what is left and give the folder back."""
        try:
            self.flush()
        finally:
            self._engine.dispose()
            self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    # --- trees -------------------------------------------------------------------------------

    def begin(self, key: TreeKey, tree: Tree) -> None:
        """A new tree: its task, seed and the nodes it has already (the task's own node at least).

        A key that is in the run already is an error: `forget` its step first.
        """
        with self._begin() as db:
            if db.execute(sa.select(TREES.c.seed).where(at(TREES, *key))).first():
                raise StoreError(f"{self.place}: tree {key} is in the run already: forget its step")
        if len({named(node) for node in tree.nodes}) < len(tree):
            raise StoreError(f"tree {key}: two of its nodes have the same episode and step")
        row = {
            **key._asdict(),
            "task": self.as_json(tree.task, f"task of tree {key}"),
            "seed": json.dumps(tree.seed),
            "done": False,
            "columns": self.as_json(tree.columns, f"columns of tree {key}"),
        }
        self._ops.append((sa.insert(TREES), row))
        for i, node in enumerate(tree.nodes):
            self.write(key, tree, i, node)

    def write(
        self, key: TreeKey, tree: Tree, index: int | None, node: Node, is_open: bool = False
    ) -> None:
        """Keep a node whose parent and prefix are indices of `tree`.

        A closed node has its index; an open one, which still waits for its calls, has none yet
        (the task's own node always is 0). Written again, as open nodes are at each call and when
        they close, it takes the place of what was written before.
        """
        if is_open and node.parent >= 0:
            index = None
        elif index is None:
            raise ValueError("a closed node has an index")
        row = node_row(key, tree, index, node)
        what = f"node {row['node_step']} of episode {row['episode']} of tree {key}"
        row["data"] = self.as_json(row["data"], what)
        self._pending[key, row["episode"], row["node_step"]] = row
        self._touch()

    def opinion(self, key: TreeKey, node: Node, column: str, value: float) -> None:
        """Keep a guide's value of a node until the tree's columns are kept."""
        episode, step = named(node)
        row = {**key._asdict(), "episode": episode, "node_step": step}
        self._ops.append((self._upsert["opinions"], {**row, "name": column, "value": value}))
        self._touch()

    def columns(self, key: TreeKey, columns: Mapping[str, Column]) -> None:
        """Keep a tree's columns in place of those kept before."""
        self._update(key, columns=self.as_json(dict(columns), f"columns of tree {key}"))

    def done(self, key: TreeKey) -> None:
        """Keep that a tree is grown and scored."""
        self._update(key, done=True)

    def _update(self, key: TreeKey, **values: Any) -> None:
        self._ops.append((sa.update(TREES).where(at(TREES, *key)).values(**values), {}))
        self._touch()

    def _range(self, stage: str) -> str:
        """What trees there are, of a stage where it has any, else of each."""
        keys, ends = self.keys(stage) or self.keys(), dict[str, list[TreeKey]]()
        for key in keys:
            ends.setdefault(key.stage, []).append(key)
        line = [f"{found[0]} to {found[-1]}" for found in ends.values()]
        return f"it has {', '.join(line) or 'none'}"

    def read(self, key: TreeKey) -> Stored:
        """A tree as it was left, nodes in the order they had."""
        self.flush()
        with self._begin() as db:
            row = db.execute(sa.select(TREES).where(at(TREES, *key))).one_or_none()
            if row is None:
                raise StoreError(f"{self.place}: holds no tree {key}: {self._range(key.stage)}")
            found = sa.select(NODES).where(at(NODES, *key))
            order = (NODES.c.place.is_(None), NODES.c.place, NODES.c.episode)
            rows = db.execute(found.order_by(*order)).all()
            opinions = db.execute(sa.select(OPINIONS).where(at(OPINIONS, *key))).all()
        with self.reading(f"tree {key}"):
            closed, waiting = read_nodes(rows)
            tree = Tree(json.loads(row.task), closed, json.loads(row.columns), json.loads(row.seed))
            for name, column in tree.columns.items():  # nodes may have come since they were kept
                column.extend([None] * (len(closed) - len(column)))
                checked_column(name, column, len(closed))
            if not row.done:
                index = {named(node): i for i, node in enumerate(closed)}
                for *_, episode, step, name, value in opinions:
                    tree.column(name)[index[episode, step]] = value
        return Stored(tree, row.done, waiting)

    def keys(self, stage: str | None = None, step: int | None = None) -> list[TreeKey]:
        """Keys of all trees (of a stage, of one of its steps), in order."""
        return self._keys(at(TREES, stage, step))

    def unfinished(self, stage: str | None = None) -> list[TreeKey]:
        """Keys of the trees (of a stage) that are not grown to their end, in order."""
        return self._keys(at(TREES, stage) & ~TREES.c.done)

    def _keys(self, which: sa.ColumnElement[bool]) -> list[TreeKey]:
        self.flush()
        columns = (TREES.c.stage, TREES.c.step, TREES.c.number)
        found = sa.select(*columns).where(which).order_by(*columns)
        with self._begin() as db:
            return [TreeKey(*row) for row in db.execute(found)]

    def forget(self, stage: str, step: int, number: int | None = None) -> None:
        """Drop the trees and metrics of a step (or one tree), to be grown again from the seeds.

        What they cost was paid all the same: it moves to stage "lost STAGE".
        """
        self.flush()
        with self._begin() as db:
            for table in (TREES, NODES, OPINIONS):
                db.execute(sa.delete(table).where(at(table, stage, step, number)))
            if number is None:
                here = (METRICS.c.kind == stage) & (METRICS.c.step == step)
                db.execute(sa.delete(METRICS).where(here))
            moved = [sa.literal(f"{LOST} {stage}"), *list(LEDGER.c)[1:]]
            rows = sa.select(*moved).where(at(LEDGER, stage, step, number))
            db.execute(self._upsert["costs"].from_select(list(LEDGER.c.keys()), rows))
            db.execute(sa.delete(LEDGER).where(at(LEDGER, stage, step, number)))

    # --- metrics, ledger ---------------------------------------------------------------------

    def metric(self, row: Mapping[str, Any]) -> None:
        """Keep a row of metrics; one of the same "kind", "stage" and "step" is replaced."""
        self._ops.append(
            (
                self._upsert["metrics"],
                {
                    "kind": str(row.get("kind", "train")),
                    "stage": str(row.get("stage", "")),
                    "step": int(row.get("step", -1)),
                    "place": self._rows,
                    "data": self.as_json(dict(row), "a row of metrics"),
                },
            )
        )
        self._rows += 1
        self._touch()

    def metrics(self) -> list[dict[str, Any]]:
        """All rows of metrics in the order written."""
        self.flush()
        with self._begin() as db:
            found = db.execute(sa.select(METRICS.c.data).order_by(METRICS.c.place)).all()
        with self.reading("a row of metrics"):
            return [checked_metrics(json.loads(data)) for (data,) in found]

    def enter(self, entries: Sequence[Entry]) -> None:
        """Add ledger entries to what stands there; the `sink` of a `Ledger`."""
        costs = self._costs
        for entry in entries:
            where = (entry.tree, entry.episode, entry.turn, entry.kind)
            costs[where] = costs.get(where, 0) + entry.amount
        self._touch()

    def entries(self, stage: str | None = None, step: int | None = None) -> Iterator[Entry]:
        """Sums of what was entered, one a tree, episode, turn and kind, in order."""
        self.flush()
        found = sa.select(LEDGER).where(at(LEDGER, stage, step)).order_by(*LEDGER.primary_key)
        with self._begin() as db:
            rows = db.execute(found).all()
        for *where, episode, turn, kind, amount in rows:
            tree = "/".join(str(part) for part in where if part != -1)
            yield Entry(tree, episode, turn, kind, amount)

    def totals(
        self, stage: str | None = None, step: int | None = None, lost: bool | None = None
    ) -> dict[str, float]:
        """Sums by kind of what was paid (in a stage, a step): all, or that in vain, or the rest."""
        self.flush()
        vain = (LEDGER.c.stage == LOST) | LEDGER.c.stage.startswith(f"{LOST} ")
        where = at(LEDGER, stage, step) & (sa.true() if lost is None else vain if lost else ~vain)
        amounts = (sa.func.sum(LEDGER.c.amount), sa.func.max(LEDGER.c.amount))  # a text is the most
        sums = sa.select(LEDGER.c.kind, *amounts).where(where)
        with self._begin() as db:
            return {row[0]: row[1] for row in db.execute(sums.group_by(LEDGER.c.kind))}

    # --- writing -----------------------------------------------------------------------------

    def _touch(self) -> None:
        """See to it that what is buffered is written when this tick of the loop ends."""
        if self._read_only:
            raise StoreError(f"{self.place}: opened to look on, not to write")
        if self._failed is not None:
            raise self._failed
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.flush()
            return
        if self._soon is not loop:
            self._soon = loop
            loop.call_soon(self._flush_soon)

    def _flush_soon(self) -> None:
        try:
            self.flush()
        except StoreError as error:  # told by the next call: a callback has nobody to tell
            self._failed = error

    @contextmanager
    def all_or_none(self) -> Iterator[None]:
        """Of what a block leaves in the buffer, nothing is written where it raises."""
        self.flush()
        try:
            yield
        except BaseException:
            for buffer in (self._ops, self._pending, self._costs):
                buffer.clear()
            raise

    def flush(self) -> None:
        """Write all that is buffered in one transaction; what cannot be written stays buffered."""
        self._soon = None
        if self._read_only or not (self._ops or self._pending or self._costs):
            return
        with self._begin() as db:
            for statement, row in self._ops:
                db.execute(statement, row)
            if self._pending:
                db.execute(self._upsert["nodes"], list(self._pending.values()))
            if self._costs:
                self._write_costs(db)
        self._ops.clear()
        self._pending.clear()
        self._costs.clear()
        self._failed = None

    def _write_costs(self, db: sa.Connection) -> None:
        """Add up costs; of what was in no result and is in one now nothing stays behind."""
        vain = {where for where in self._costs if where[0].startswith(LOST)}
        rows = [cost_row(*item) for item in self._costs.items() if item[0] not in vain or item[1]]
        if rows:
            db.execute(self._upsert["costs"], rows)
        if any(self._costs[where] < 0 for where in vain):
            gone = LEDGER.c.stage.startswith(f"{LOST} ") & (LEDGER.c.amount == 0)
            db.execute(sa.delete(LEDGER).where(gone))

    @contextmanager
    def _begin(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as db:
                yield db
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise StoreError(f"{self.place}: {error_line(error)}") from error


def export(store: Store, path: str | Path, stage: str | None = None) -> int:
    """Write the run's trees (of one stage) as JSON lines in canonical order; returns how many."""
    try:
        return write_trees((canonical(store.read(key).tree) for key in store.keys(stage)), path)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror or error}") from error
