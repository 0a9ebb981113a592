"""What several trainers share: the store, the seats, the desk. On SQLite and on PostgreSQL."""

import sqlite3
import threading
import time
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from hornbeam.errors import StoreError
from hornbeam.store.database import Store, TreeKey
from hornbeam.store.leases import Lease, leases
from hornbeam.store.ledger import Entry
from hornbeam.store.request_queue import RequestKey, RequestQueue
from hornbeam.store.shared_database import LEASES, DatabaseUnreachable, SharedStore, connect
from hornbeam.tree.nodes import Tree

LEASE = 2.0
KEYS = [TreeKey("train", 0, number) for number in range(4)]
ASK = RequestKey("train", 0, 0, 2, 1, 0)
DATA = {"prompt": [1, 2], "seed": 2**62}


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, tmp_path):
    """An empty database that several stores of one process may open."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/run.db"
    return request.getfixturevalue("postgres").database()


@pytest.fixture
def trainer(place):
    """Makes (store, desk, seat, lines) of the trainer of a policy."""
    made = []

    def make(policy, lease=LEASE):
        lines = []
        store = SharedStore(place, lines.append)
        policy_lease = Lease(store, policy, lease, lines.append)
        made.append((store, policy_lease))
        policy_lease.take()
        return store, RequestQueue(store, policy), policy_lease, lines

    yield make
    for store, policy_lease in made:
        policy_lease.release()
        store.session = store.session._replace(number=0)  # those given up may close too
        store.close()


def hang(policy_lease):
    """A process that is silent from now on: its heart stops, its seat is not given back."""
    policy_lease._stop.set()
    policy_lease._thread.join()


def wait(what, seconds=20.0):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


def owner(store, policy):
    return {row.policy: row.owner for row in leases(store)}[policy]


# --- seats ---------------------------------------------------------------------------------------


def test_a_policy_has_one_trainer(trainer):
    _, _, _, _ = trainer("main")
    with pytest.raises(
        StoreError, match=r"policy 'main' is trained by \S+:\d+ since .* lease"
    ) as no:
        trainer("main")
    assert "\n" not in str(no.value)
    trainer("sub")


def test_a_seat_given_back_is_free_at_once(trainer):
    _, _, policy_lease, _ = trainer("main", 60.0)
    policy_lease.release()
    began = time.monotonic()
    trainer("main", 60.0)
    assert time.monotonic() - began < 20


def test_a_lease_of_the_dead_is_waited_for_and_the_dead_write_no_more(trainer):
    old, _, policy_lease, _ = trainer("main")
    hang(policy_lease)  # its process runs, so nothing but its silence tells
    began = time.monotonic()
    new, _, _, lines = trainer("main")
    assert time.monotonic() - began >= LEASE * 0.9
    assert any("is silent: waiting" in line for line in lines)
    new.set("who", "new")
    with pytest.raises(StoreError, match="has been given up"):
        old.set("who", "old")
    assert new.get("who") == "new"


def test_who_falls_silent_is_given_up_by_the_others(trainer):
    main, _, _, _ = trainer("main")
    _, _, policy_lease, _ = trainer("sub")
    assert owner(main, "sub")
    hang(policy_lease)
    wait(lambda: not owner(main, "sub"))
    assert owner(main, "main")


def test_a_dead_process_of_this_machine_is_seen_at_once(trainer):
    store, _, policy_lease, _ = trainer("main", 60.0)
    hang(policy_lease)
    with store._begin() as db:  # an id beyond what the system gives
        db.execute(sa.update(LEASES).values(owner="here:4194305"))
    began = time.monotonic()
    trainer("main", 60.0)
    assert time.monotonic() - began < 20


def test_no_clock_of_the_day_decides(trainer, monkeypatch):
    main, _, _, _ = trainer("main")
    trainer("sub")
    for jump in (1e7, -1e7):
        monkeypatch.setattr(time, "time", lambda jump=jump: jump)
        time.sleep(LEASE / 4)
        assert owner(main, "sub") and owner(main, "main")


# --- claims --------------------------------------------------------------------------------------


def test_every_tree_is_claimed_by_one(trainer):
    _, main, _, _ = trainer("main")
    _, sub, _, _ = trainer("sub")
    first = main.claim(KEYS, 2)
    second = sub.claim(KEYS, 4)
    assert first == KEYS[:2] and second == KEYS[2:]
    assert main.claim(KEYS, 4) == first  # its own it may take again
    assert sub.claim(KEYS[:2], 4) == []


def test_claims_race(trainer):
    queues = [trainer(name)[1] for name in ("main", "sub")]
    keys = [TreeKey("train", 1, number) for number in range(40)]
    got = {queue.policy: [] for queue in queues}
    store = {queue.policy: queue for queue in queues}

    def take(name):
        for key in keys:
            got[name] += store[name].claim([key], 1)

    if "sqlite" in queues[0].store.address:
        take("main")  # one connection serves one thread here
        take("sub")
    else:
        threads = [threading.Thread(target=take, args=(name,)) for name in got]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(got["main"] + got["sub"]) == keys


def test_what_the_dead_claimed_is_free(trainer):
    store, main, _, _ = trainer("main")
    _, sub, policy_lease, _ = trainer("sub")
    assert sub.claim(KEYS, 4) == KEYS
    hang(policy_lease)
    wait(lambda: not owner(store, "sub"))
    assert main.claim(KEYS, 4) == KEYS


def test_a_grown_tree_is_claimed_no_more(trainer):
    store, main, _, _ = trainer("main")
    _, sub, _, _ = trainer("sub")
    assert main.claim(KEYS, 1) == KEYS[:1]
    store.begin(KEYS[0], Tree({"id": "a"}))
    store.done(KEYS[0])
    assert sub.undone(KEYS) == KEYS[1:]
    assert main.claim(KEYS[:1], 1) == sub.claim(KEYS[:1], 1) == []


# --- asks ----------------------------------------------------------------------------------------


def test_an_ask_is_answered_once(trainer):
    _, main, _, _ = trainer("main")
    _, sub, _, _ = trainer("sub")
    main.ask(ASK, "sub", 3, DATA)
    main.store.flush()
    assert sub.wanted(2) == [] and main.wanted(9) == []
    assert sub.wanted(3) == [ASK]
    data, answer = sub.data(ASK)
    assert answer is None
    sub.answer(ASK, data, {"text": "one"})
    sub.answer(ASK, data, {"text": "two"})
    sub.store.flush()
    assert sub.wanted(3) == [] and main.answered() == [ASK]
    assert main.data(ASK)[1] == '{"text": "one"}'


def test_who_asks_the_same_again_has_the_answer_and_else_none(trainer):
    _, main, _, _ = trainer("main")
    _, sub, _, _ = trainer("sub")
    main.ask(ASK, "sub", 0, DATA)
    main.store.flush()
    data, _ = sub.data(ASK)
    sub.answer(ASK, data, {"text": "one"})
    sub.store.flush()
    main.ask(ASK, "sub", 0, DATA)  # as a process does that grows a tree again
    main.store.flush()
    assert main.answered() == [ASK]
    main.ask(ASK, "sub", 0, {**DATA, "seed": 1})
    main.store.flush()
    assert main.answered() == [] and sub.wanted(0) == [ASK]
    sub.answer(ASK, data, {"text": "late"})  # to what is asked no more
    sub.store.flush()
    assert main.answered() == []
    main.clear([KEYS[0]])
    assert sub.data(ASK) is None


def test_a_step_is_trained_once(trainer):
    _, main, _, _ = trainer("main")
    _, sub, _, _ = trainer("sub")
    main.train(0, 7, {"loss": 0.5})
    sub.train(0, 3, {"loss": 1.0})
    assert main.trained()[0] == (7, {"loss": 0.5}) and main.trained("sub")[0].version == 3
    with pytest.raises(StoreError, match=r"unique|UNIQUE"):
        main.train(0, 8, {"loss": 0.25})
    main.store._ops.clear()
    assert main.trained()[0].version == 7 and main.trained(since=1) == {}


# --- the store -----------------------------------------------------------------------------------


def test_two_processes_write_one_store(trainer):
    a, _, _, _ = trainer("main")
    b, _, _, _ = trainer("sub")
    for store in (a, b):
        store.enter([Entry("train/0", -1, -1, "tokens_flat", 2.0)])
        store.metric({"kind": "sft", "stage": store.session.policy, "step": 0})
    assert a.totals() == b.totals() == {"tokens_flat": 4.0}
    assert [row["stage"] for row in b.metrics()] == ["main", "sub"]


def test_a_write_whose_end_was_not_heard_of_is_not_written_twice(trainer):
    store, _, _, _ = trainer("main")
    begin, heard = store._begin, []

    def deaf():
        """The connection breaks behind the first commit."""

        @contextmanager
        def broken():
            with begin() as db:
                yield db
            if not heard:
                heard.append(1)
                raise DatabaseUnreachable("the connection is lost")

        return broken()

    store._begin = deaf
    store.enter([Entry("train/0", -1, -1, "tokens_flat", 2.0)])
    assert heard and store.totals() == {"tokens_flat": 2.0}


def test_a_database_that_is_locked_for_a_while_is_waited_for(tmp_path):
    lines = []
    url = f"sqlite:///{tmp_path}/run.db?timeout=0.1"
    with SharedStore(url, lines.append) as store:
        other = sqlite3.connect(tmp_path / "run.db", check_same_thread=False)
        other.execute("begin immediate")
        timer = threading.Timer(4.0, other.rollback)
        timer.start()
        store.set("a", 1)
        timer.join()
        other.close()
        assert store.get("a") == 1
    assert [line.partition(":")[0][:23] for line in lines] == [
        "Waiting for the databas",
        "The database is back af",
    ]


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
def test_a_server_that_goes_away_is_waited_for(postgres, trainer):
    store, _, policy_lease, lines = trainer("main")
    store.set("a", 1)
    postgres.stop()
    timer = threading.Timer(3 * LEASE, postgres.start)
    timer.start()
    store.set("a", 2)
    timer.join()
    assert store.get("a") == 2 and owner(store, "main")
    assert len(lines) == 2 and "Waiting for the database" in lines[0] and "is back" in lines[1]
    time.sleep(LEASE)
    assert owner(store, "main") and policy_lease._thread.is_alive()


def test_a_wrong_address_is_told_at_once_and_without_the_password(tmp_path, monkeypatch):
    pytest.importorskip("psycopg")
    monkeypatch.setattr("hornbeam.store.shared_database.AT_OPENING", 0.1)
    with pytest.raises(StoreError) as error:
        SharedStore(f"postgresql://me:secret@/run?host={tmp_path}", print)
    assert "secret" not in str(error.value) and "\n" not in str(error.value)


def test_a_store_of_another_format_is_refused(place):
    with SharedStore(place, print) as store:
        store.set("format", 1)
    with pytest.raises(StoreError, match="format 1"):
        SharedStore(place, print)
    engine = connect(place)
    with engine.begin() as db:
        db.execute(sa.text("delete from meta"))
    engine.dispose()


def test_a_run_of_one_process_and_shared_ones_keep_apart(tmp_path):
    with (
        SharedStore(tmp_path / "a", print),
        pytest.raises(StoreError, match="is open in process"),
    ):
        Store(tmp_path / "a")
    with Store(tmp_path / "b"), pytest.raises(StoreError, match="is open in process"):
        SharedStore(tmp_path / "b", print)
