"""Whatever stands in a cell of a run's database is read, or told in one line."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from hornbeam.errors import StoreError
from hornbeam.store.cells import NumberCell, TextCell, WholeCell
from hornbeam.store.database import Store, TreeKey
from hornbeam.store.leases import Lease, leases
from hornbeam.store.ledger import Entry
from hornbeam.store.request_queue import RequestKey, RequestQueue
from hornbeam.store.shared_database import SharedStore
from hornbeam.store.tables import SCHEMA
from hornbeam.tree.nodes import Node, Origin, Tree, floats, ids

KEY = TreeKey("train", 0, 0)
ROW = {"kind": "train", "step": 0, "reward": 0.5, "seconds": 3.0, "accuracy": 0.25, "count": 4}
WHICH = RequestKey("train", 0, 0, 0, 0, 0)
HOSTILE = {
    WholeCell: ("[null]", 0.5, 2**62),
    NumberCell: (b"\xff", "x", 1e999),
    TextCell: (b"\xff\x00", "{", "null", '{"step": []}'),
}


def filled(folder: Path) -> None:
    """A row at least in every table of a run that several processes write."""
    with SharedStore(folder, print) as store:
        lease = Lease(store, "main", 60, print)
        lease.take()
        tree = Tree({"id": "q"})
        store.begin(KEY, tree)
        for step in (0, 1):
            origin = Origin(0, step)
            node = Node(step, tokens=ids([7]), logprobs=floats([-0.5]), origin=origin)
            tree.append(node)
            store.write(KEY, tree, step + 1, node)
        store.opinion(KEY, tree.nodes[1], "guide", 0.5)
        store.metric(ROW)
        store.enter([Entry("train/0/0", 0, 0, "model_calls", 1)])
        store.set("recipe", {"run": {"steps": 1}})
        queue = RequestQueue(store, "main")
        queue.claim([KEY], 1)
        queue.ask(WHICH, "main", 0, {})
        queue.train(0, 1, ROW)
        lease.release()


def look(folder: Path) -> None:
    """All that is read of a run, by one process and by several."""
    with Store(folder, read_only=True) as store:
        keys = store.keys()
        for key in keys:
            store.read(key)
        assert {*store.unfinished()} <= {*keys}
        for row in store.metrics():
            assert type(row.get("step", 0)) is int and type(row.get("kind", "")) is str
            assert float(row.get("seconds") or 0) >= 0
        costs = [*(entry.amount for entry in store.entries()), *store.totals().values()]
        assert all(type(amount) in (int, float) for amount in costs)
        assert type(store.kept_recipe()) is dict and store.values("")
    with SharedStore(folder, print) as store:
        queue = RequestQueue(store, "main")
        assert all(type(row.owner) is str for row in leases(store))
        for which in (*queue.wanted(9), *queue.answered()):
            assert all(type(part) is (str if i == 0 else int) for i, part in enumerate(which))
        queue.undone([KEY])
        assert all(type(version) is int for version in queue.versions())
        assert all(type(step) is int for step in queue.trained())
        store.metric({**ROW, "step": 1})


CELLS = [
    (name, column.name)
    for name, table in SCHEMA.tables.items()
    for column in table.columns
    if column.name != "done"  # a flag: whatever is not 0 is true
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a run's database."""
    folder = tmp_path_factory.mktemp("whole")
    filled(folder)
    look(folder)
    with closing(sqlite3.connect(folder / "run.db")) as link:
        link.execute("pragma wal_checkpoint(truncate)")
    return (folder / "run.db").read_bytes()


@pytest.mark.parametrize(("table", "column"), CELLS)
def test_a_cell_holds_what_belongs_there_or_is_told_in_one_line(table, column, whole, tmp_path):
    cell, told = SCHEMA.tables[table].c[column], 0
    last = "" if table == "ledger" else f" where rowid = (select max(rowid) from {table})"
    for number, value in enumerate(HOSTILE[type(cell.type)]):
        (folder := tmp_path / str(number)).mkdir()
        (folder / "run.db").write_bytes(whole)
        with closing(sqlite3.connect(folder / "run.db")) as link, link:
            link.execute(f"update {table} set {column} = ?{last}", (value,))
        try:
            look(folder)
        except StoreError as error:
            told += 1
            assert "\n" not in str(error) and len(str(error)) < 500
    compared = cell.primary_key or (table, column) in NOT_READ
    assert told or compared or type(cell.type) is TextCell


NOT_READ = {("asks", "need"), ("claims", "session"), ("members", "writes")}  # compared alone


@pytest.mark.parametrize("amount", ["x", b"\xff", 1e999])
def test_a_sum_is_of_numbers(amount, tmp_path):
    filled(tmp_path)
    with closing(sqlite3.connect(tmp_path / "run.db")) as link, link:
        link.execute("update ledger set amount = ?", (amount,))
    with (
        Store(tmp_path, read_only=True) as store,
        pytest.raises(StoreError, match=r"damaged: bring it back .* where a number belongs"),
    ):
        store.totals()


@pytest.mark.parametrize("place", ["x", b"\xff", 2**62])
def test_the_place_of_the_last_row_is_a_number(place, tmp_path):
    filled(tmp_path)
    with closing(sqlite3.connect(tmp_path / "run.db")) as link, link:
        link.execute("update metrics set place = ?", (place,))
    with pytest.raises(StoreError, match=r"damaged: bring it .* where a whole number belongs"):
        Store(tmp_path)


@pytest.mark.parametrize(
    "data", ["3", "{", '{"step": "x"}', '{"kind": []}', '{"seconds": "x"}', '{"accuracy": NaN}']
)
def test_a_row_of_metrics_is_one(data, tmp_path):
    filled(tmp_path)
    with closing(sqlite3.connect(tmp_path / "run.db")) as link, link:
        link.execute("update metrics set data = ?", (data,))
    with (
        Store(tmp_path, read_only=True) as store,
        pytest.raises(StoreError, match="a row of metrics is damaged: "),
    ):
        store.metrics()


@pytest.mark.parametrize("left", ["", "create table other (a)"])
def test_no_run_yet(tmp_path: Path, left: str) -> None:
    """Killed before its first write, or somebody else's database: said, and begun by a writer."""
    with closing(sqlite3.connect(tmp_path / "run.db")) as db:
        db.execute(left)
    with pytest.raises(StoreError, match="its database holds no run: one that was stopped before"):
        Store(tmp_path, read_only=True)
    Store(tmp_path).close()
    Store(tmp_path, read_only=True).close()
