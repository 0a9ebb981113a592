"""The tables of a run's database, what stands in a row, and the inserts that replace or add.

JSON is kept as text (ASCII, escapes for the rest), which every database takes as it is.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from reprlib import repr as short
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from hornbeam.errors import StoreError, how_to_get
from hornbeam.store.cells import NumberCell, TextCell, WholeCell
from hornbeam.store.keys import TreeKey
from hornbeam.tree.jsonl import node_from_json, node_to_json
from hornbeam.tree.nodes import Node, Tree

ROOT = (-1, 0)  # episode and step of the task's own node


SCHEMA = sa.MetaData()
_text, _int = TextCell, WholeCell


def keyed(kind: Any, *names: str) -> list[sa.Column[Any]]:
    """Columns of a primary key."""
    return [sa.Column(name, kind, primary_key=True, autoincrement=False) for name in names]


META = sa.Table("meta", SCHEMA, *keyed(_text, "name"), sa.Column("value", _text, nullable=False))
TREES = sa.Table(
    "trees",
    SCHEMA,
    *keyed(_text, "stage"),
    *keyed(_int, "step", "number"),
    sa.Column("task", _text, nullable=False),
    sa.Column("seed", _text, nullable=False),  # as JSON: seeds may pass 64 bits
    sa.Column("done", sa.Boolean, nullable=False),
    sa.Column("columns", _text, nullable=False),
)
NODES = sa.Table(
    "nodes",
    SCHEMA,
    *keyed(_text, "stage"),
    *keyed(_int, "step", "number", "episode", "node_step"),
    sa.Column("place", _int),  # index in the tree; null while its calls are still coming
    sa.Column("parent_episode", _int),
    sa.Column("parent_step", _int),
    sa.Column("prefix_episode", _int),
    sa.Column("prefix_step", _int),
    sa.Column("data", _text, nullable=False),
)
OPINIONS = sa.Table(  # of guides, while a tree grows; its columns take their place when it is grown
    "opinions",
    SCHEMA,
    *keyed(_text, "stage"),
    *keyed(_int, "step", "number", "episode", "node_step"),
    *keyed(_text, "name"),
    sa.Column("value", NumberCell, nullable=False),
)
METRICS = sa.Table(
    "metrics",
    SCHEMA,
    *keyed(_text, "kind", "stage"),
    *keyed(_int, "step"),
    sa.Column("place", _int, nullable=False),
    sa.Column("data", _text, nullable=False),
)
LEDGER = sa.Table(
    "ledger",
    SCHEMA,
    *keyed(_text, "stage"),
    *keyed(_int, "step", "number", "episode", "turn"),
    *keyed(_text, "kind"),
    sa.Column("amount", NumberCell, nullable=False),
    sqlite_with_rowid=False,
)


def inserter(dialect: str) -> Any:
    """The insert of a database that can say what to do where a row is there already."""
    inserts: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
    if dialect not in inserts:
        raise StoreError(f"no store on {dialect}: use a folder, or a postgresql:// URL")
    return inserts[dialect]


def upserts(dialect: str) -> dict[str, Any]:
    """Inserts that replace what stands there, or add to it (costs)."""
    new_row = inserter(dialect)
    out = {}
    for name, table, values in (
        ("meta", META, ("value",)),
        ("metrics", METRICS, ("data",)),
        ("nodes", NODES, [c.name for c in NODES.c if not c.primary_key]),
        ("opinions", OPINIONS, ("value",)),
        ("costs", LEDGER, ("amount",)),
    ):
        insert = new_row(table)
        new = {value: insert.excluded[value] for value in values}
        if table is LEDGER:
            new = {"amount": LEDGER.c.amount + insert.excluded.amount}
        out[name] = insert.on_conflict_do_update(index_elements=[*table.primary_key], set_=new)
    return out


def at(
    table: sa.Table, stage: str | None = None, step: int | None = None, number: int | None = None
) -> sa.ColumnElement[bool]:
    """Rows of a stage, of one of its steps, or of one tree."""
    given = (("stage", stage), ("step", step), ("number", number))
    clauses = [table.c[name] == value for name, value in given if value is not None]
    return sa.and_(sa.true(), *clauses)


def named(node: Node) -> tuple[int, int]:
    """Episode and step, which name a node within its tree."""
    return ROOT if node.parent < 0 else (node.origin.episode, node.origin.step)


def node_row(key: TreeKey, tree: Tree, index: int | None, node: Node) -> dict[str, Any]:
    """A node as a row; its `data` is JSON data still."""
    above = (None, None) if node.parent < 0 else named(tree.nodes[node.parent])
    prefix = (None, None) if node.prefix is None else named(tree.nodes[node.prefix])
    data = node_to_json(node)
    for column in ("parent", "prefix", "episode", "step"):
        data.pop(column, None)
    episode, step = named(node)
    return {
        "stage": key.stage,
        "step": key.step,
        "number": key.number,
        "episode": episode,
        "node_step": step,
        "place": index,
        "parent_episode": above[0],
        "parent_step": above[1],
        "prefix_episode": prefix[0],
        "prefix_step": prefix[1],
        "data": data,
    }


def read_nodes(rows: Sequence[Any]) -> tuple[list[Node], list[Node]]:
    """Closed nodes and open ones; `KeyError` where a parent is missing."""
    closed: list[Node] = []
    waiting: list[Node] = []
    at: dict[tuple[int | None, int | None], int] = {}
    for row in rows:
        data = json.loads(row.data)
        if row.parent_episode is None:
            closed.append(node_from_json({"parent": -1, **data}))
            at[ROOT] = 0
            continue
        data["parent"] = at[row.parent_episode, row.parent_step]
        if row.prefix_episode is not None:
            data["prefix"] = at[row.prefix_episode, row.prefix_step]
        data["episode"], data["step"] = row.episode, row.node_step
        if row.place is None:
            waiting.append(node_from_json(data))
        else:
            at[row.episode, row.node_step] = len(closed)
            closed.append(node_from_json(data))
    return closed, waiting


def checked_metrics(row: Any) -> dict[str, Any]:
    """A row of metrics, with what readers count on. Raises `ValueError` where it is none."""
    if not isinstance(row, dict):
        raise ValueError(f"{short(row)} is no row of metrics")
    for name, kind in (("kind", str), ("stage", str), ("step", int)):
        if type(row.get(name, kind())) is not kind:
            raise ValueError(f"{name} is {short(row[name])}")
    for name in ("seconds", "accuracy", "reward", "count"):
        value = row.get(name)
        if value is not None and not (type(value) in (int, float) and value == value):
            raise ValueError(f"{name} is {short(value)}")
    return row


@lru_cache(1024)
def _split(tree: str) -> tuple[str, int, int]:
    """Stage, step and number of "train/12/3", "train/12", "train" or ""; -1 where missing."""
    stage, step, number, *_ = [*tree.split("/"), "-1", "-1"]
    return stage, int(step), int(number)


def cost_row(where: tuple[str, int, int, str], amount: float) -> dict[str, Any]:
    """A sum of costs as a row of the ledger; `where`: tree, episode, turn, kind."""
    tree, episode, turn, kind = where
    stage, step, number = _split(tree)
    return {
        "stage": stage,
        "step": step,
        "number": number,
        "episode": episode,
        "turn": turn,
        "kind": kind,
        "amount": amount,
    }


def open_file(path: Path, read_only: bool, patience: float = 10) -> sa.Engine:
    """The SQLite database in a file: one connection, WAL, safe when the process is killed.

    `patience`: seconds to wait while others write.
    """
    uri = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"

    def connect() -> sqlite3.Connection:
        db = sqlite3.connect(uri, uri=True, timeout=patience)
        try:
            if not read_only:
                db.execute("pragma journal_mode=wal")
                db.execute("pragma synchronous=normal")
        except BaseException:
            db.close()
            raise
        return db

    return sa.create_engine("sqlite://", creator=connect, poolclass=StaticPool)


def open_url(url: str) -> sa.Engine:
    """The database at a URL."""
    try:
        found = sa.make_url(url)
        backend = found.get_backend_name()
        upserts(backend)  # refuses a database that we do not know before its driver is looked for
        if found.drivername == "postgresql":
            found = found.set(drivername="postgresql+psycopg")
        return sa.create_engine(found)
    except ImportError as error:
        told_how = f"install the driver of {backend} ({how_to_get('postgres')})"
        raise StoreError(f"{error}: {told_how}") from error
    except SQLAlchemyError as error:
        raise StoreError(error_line(error)) from error


_REMEDIES = {
    "No space left": "the disk of the database is full: free some space and start again",
    "full": "the disk is full: free some space and start again, the run goes on where it was",
    "locked": "another process holds the database: stop it and start again",
    "readonly": "it is read-only: change its permissions or name another folder",
    "malformed": "the database is damaged: bring it back from a copy or begin a new folder",
    "not a database": "run.db is no database: bring it back from a copy or begin a new folder",
    "unable to open": "run.db cannot be opened: look at the folder's permissions",
}


def error_line(error: Exception) -> str:
    """What a database error means and what to do, in one line."""
    text = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
    found = next((remedy for sign, remedy in _REMEDIES.items() if sign in text), "")
    return f"{found} ({text})" if found else text


_PASSING = ("08", "40", "57P", "55P03")  # classes of SQLSTATE: connection, deadlock, shutdown, lock


def passing(error: Exception) -> bool:
    """Whether a database error may be over when the same is tried again."""
    if not isinstance(error, (OperationalError, InterfaceError, sqlite3.OperationalError)):
        return False
    orig = getattr(error, "orig", None) or error
    if isinstance(orig, sqlite3.Error):
        return any(sign in str(orig) for sign in ("locked", "busy"))
    state = getattr(orig, "sqlstate", None)  # none: no word came from the server
    return state is None or state.startswith(_PASSING)
