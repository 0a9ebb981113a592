import asyncio
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql

from hornbeam.errors import StoreError
from hornbeam.store.database import LOST, Store, TreeKey, canonical, export
from hornbeam.store.ledger import Entry, Ledger
from hornbeam.store.tables import upserts
from hornbeam.tree.jsonl import read_trees, to_json
from hornbeam.tree.nodes import Call, Node, Origin, Tree, floats, ids
from work_done import lines_run

KEY = TreeKey("train", 3, 0)


def node(parent: int, episode: int, step: int, seed: int = 0, **rest: object) -> Node:
    tokens = ids([7, episode, step])
    given = {"tokens": tokens, "logprobs": floats([-0.5, -1 / 3, -0.125]), "agent": "solver"}
    return Node(parent, origin=Origin(episode, step, seed=seed), **{**given, **rest})


def small_tree() -> Tree:
    """Task; episode 0 of two steps; episode 1 forks behind its first step."""
    tree = Tree({"id": "q", "question": "2 + 3?"}, seed=2**70)
    tree.append(node(0, 0, 0, prompt=ids([1, 2]), seed=2**63))
    tree.append(node(1, 0, 1, calls=(Call("calculator", {"expression": "2+3"}, 5),)))
    tree.append(node(1, 1, 0, prefix=2, keep=1, done=True, answer="5", text="é\x00"))
    return tree


def fill(store: Store, tree: Tree, key: TreeKey = KEY) -> None:
    fresh = Tree(tree.task, seed=tree.seed)
    store.begin(key, fresh)
    for i, step in enumerate(tree.nodes[1:], 1):
        fresh.append(step)
        store.write(key, fresh, i, step)


def test_a_tree_comes_back_as_it_was(tmp_path: Path) -> None:
    tree = small_tree()
    with Store(tmp_path) as store:
        fill(store, tree)
        tree.column("reward")[3] = 1.0
        store.columns(KEY, tree.columns)
        assert not store.read(KEY).done
        store.done(KEY)
    with Store(tmp_path) as store:
        found = store.read(KEY)
        assert found.tree == tree
        assert found.done
        assert found.open == []
        assert store.keys() == store.keys("train", 3) == [KEY]
        assert store.keys("eval") == store.keys("train", 2) == []


def test_a_node_may_wait_for_its_calls(tmp_path: Path) -> None:
    tree = Tree({"id": "q"})
    with Store(tmp_path) as store:
        store.begin(KEY, tree)
        tree.append(node(0, 0, 0))
        store.write(KEY, tree, 1, tree.nodes[1])
        first = node(1, 0, 1)
        store.write(KEY, tree, None, first, is_open=True)
        tree.append(node(0, 1, 0, prefix=1, keep=2))
        store.write(KEY, tree, 2, tree.nodes[2])
        more = node(1, 0, 1, calls=(Call("search", {"query": "a"}, ["b"]),))
        store.write(KEY, tree, None, more, is_open=True)
        assert store.read(KEY).open == [more]
        assert store.read(KEY).tree == tree
        closed = node(1, 0, 1, prefix=2, calls=(*more.calls, Call("search", {}, error="empty")))
        tree.append(closed)  # its prefix came after it was opened
        store.write(KEY, tree, 3, closed)
        assert store.read(KEY) == (tree, False, [])


def test_the_task_s_own_node_may_carry_calls(tmp_path: Path) -> None:
    tree = Tree({"id": "q"})
    with Store(tmp_path) as store:
        store.begin(KEY, tree)
        call = Call("search", {"query": "a"}, "b")
        store.write(KEY, tree, 0, Node(-1, calls=(call,)), is_open=True)
        assert store.read(KEY).tree.nodes == [Node(-1, calls=(call,))]
        ready = Node(-1, calls=(call,), finish="ready")
        store.write(KEY, tree, 0, ready)
        tree.nodes[0] = ready
        tree.append(node(0, 0, 0))
        store.write(KEY, tree, 1, tree.nodes[1])
        assert store.read(KEY) == (tree, False, [])


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    rng = random.Random(draw(st.integers(0, 2**32)))
    tree = Tree({"id": "q"}, seed=rng.randrange(2**40))
    steps: dict[int, int] = {}
    for i in range(1, draw(st.integers(1, 12))):
        parent = rng.randrange(i)
        last = tree.nodes[parent]
        goes_on = parent and tree.is_leaf(parent) and rng.random() < 0.7
        episode = last.origin.episode if goes_on else len(steps)
        steps[episode] = steps.get(episode, -1) + 1
        agent = rng.choice("ab")
        context = tree.sequence(parent) + ids(rng.choices(range(3), k=rng.randrange(4)))
        if rng.random() < 0.3:
            context = context[rng.randrange(len(context) + 1) :]
        place = tree.place(parent, agent, context)
        tree.append(node(parent, episode, steps[episode], agent=agent, **place._asdict()))
    tree.column("value")[-1] = rng.random()
    return tree


def test_any_tree_round_trips(tmp_path: Path) -> None:
    numbers = itertools.count()
    with Store(tmp_path) as store:

        @given(trees())
        @settings(max_examples=50)
        def check(tree: Tree) -> None:
            key = TreeKey("train", 0, next(numbers))
            store.begin(key, tree)
            assert store.read(key) == (tree, False, [])

        check()


def shuffled(tree: Tree, rng: random.Random) -> Tree:
    """The same facts with nodes told in another order."""
    out, at, ready = Tree(tree.task, [tree.nodes[0]], {}, tree.seed), {0: 0}, [*tree.children(0)]
    new = [0]
    while ready:
        i = ready.pop(rng.randrange(len(ready)))
        old = tree.nodes[i]
        place = out.place(at[old.parent], old.agent, tree.context(i))
        at[i] = out.append(
            node(
                at[old.parent],
                old.origin.episode,
                old.origin.step,
                agent=old.agent,
                **place._asdict(),
            )
        )
        new.append(i)
        ready += tree.children(i)
    out.columns = {name: [column[i] for i in new] for name, column in tree.columns.items()}
    return out


@given(trees(), st.integers(0, 2**32))
@settings(max_examples=50)
def test_canonical_order_forgets_who_came_first(tree: Tree, seed: int) -> None:
    once = canonical(tree)
    assert canonical(shuffled(tree, random.Random(seed))) == once == canonical(once)
    names = [(n.origin.episode, n.origin.step) for n in tree.nodes[1:]]
    for i, step in enumerate(once.nodes[1:], 1):
        old = names.index((step.origin.episode, step.origin.step)) + 1
        assert once.context(i) == tree.context(old)
        assert once.columns["value"][i] == tree.columns["value"][old]


def test_export_writes_canonical_trees(tmp_path: Path) -> None:
    with Store(tmp_path / "run") as store:
        fill(store, small_tree(), TreeKey("train", 10, 0))
        fill(store, small_tree(), TreeKey("train", 9, 1))
        fill(store, small_tree(), TreeKey("eval", 9, 0))
        assert export(store, tmp_path / "trees.jsonl", "train") == 2
        with pytest.raises(StoreError, match="cannot be written"):
            export(store, tmp_path / "no" / "trees.jsonl")
    assert [*read_trees(tmp_path / "trees.jsonl")] == [canonical(small_tree())] * 2


def test_forget_makes_room_and_keeps_the_cost(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        for _ in range(2):
            fill(store, small_tree())
            store.enter([Entry("train/3/0", 0, 1, "sampled_tokens", 5)])
            store.enter([Entry("train/2/0", 0, 1, "sampled_tokens", 1)])
            store.metric({"step": 3, "reward": 0.5})
            store.metric({"kind": "eval", "step": 3, "accuracy": 0.5})
            store.forget("train", 3)
            assert store.keys() == []
            assert store.metrics() == [{"kind": "eval", "step": 3, "accuracy": 0.5}]
        assert store.totals() == {"sampled_tokens": 12}
        assert store.totals(lost=False) == store.totals("train") == {"sampled_tokens": 2}
        assert store.totals(lost=True) == {"sampled_tokens": 10}
        assert store.totals(f"{LOST} train") == {"sampled_tokens": 10}


def test_entries_add_up_and_carry_over(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        ledger = Ledger(sink=store.enter)
        ledger.enter([Entry("train/3/0", 2, 1, "tool_calls", 1)] * 2)
        ledger.enter([Entry("train/3", -1, -1, "tokens_flat", 70.0)])
        ledger.enter([Entry("", -1, -1, "seconds", 0.5), Entry("train/3/0", 2, 1, "tool_calls", 1)])
    with Store(tmp_path) as store:
        assert store.totals() == ledger.totals
        assert Ledger(spent=store.totals()).calls == 3
        assert [*store.entries("train", 3)] == [
            Entry("train/3", -1, -1, "tokens_flat", 70.0),
            Entry("train/3/0", 2, 1, "tool_calls", 3),
        ]
        assert [*store.entries("")] == [Entry("", -1, -1, "seconds", 0.5)]


def test_metrics_and_meta(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.metric({"kind": "train", "step": 1, "reward": 0.25})
        store.metric({"kind": "eval", "step": 1, "accuracy": 0.5})
        store.metric({"kind": "train", "step": 1, "reward": 0.75})
        store.set("recipe", {"a": [1, None]})
        store.set("recipe", {"a": 2})
    with Store(tmp_path) as store:
        store.metric({"kind": "train", "step": 2, "reward": 1})
        assert [row.get("reward") for row in store.metrics()] == [0.75, None, 1]
        assert store.get("recipe") == {"a": 2}
        assert store.get("nothing", 5) == 5


def test_writes_of_a_tick_are_one_transaction(tmp_path: Path) -> None:
    def seen() -> int:
        with Store(tmp_path, read_only=True) as other:
            return len(other.read(KEY).tree)

    async def main(store: Store) -> None:
        tree = Tree({"id": "q"})
        store.begin(KEY, tree)
        await asyncio.sleep(0)
        for i in range(1, 4):
            tree.append(node(i - 1, 0, i - 1))
            store.write(KEY, tree, i, tree.nodes[i])
        assert seen() == 1
        await asyncio.sleep(0)
        assert seen() == 4

    with Store(tmp_path) as store:
        asyncio.run(main(store))


def test_what_a_reader_may_do(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no run here \(run.db is missing\)"):
        Store(tmp_path, read_only=True)
    Store(tmp_path).close()
    with Store(tmp_path, read_only=True) as store:
        with pytest.raises(StoreError, match="opened to look on"):
            store.set("a", 1)
        with pytest.raises(StoreError, match="holds no tree train/3/0: it has "):
            store.read(KEY)


def test_a_wrong_key_is_told_with_the_keys_there_are(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        for stage, number in [("pool a 8", 0), ("pool a 8", 1), ("beam b", 0), ("beam b", 2)]:
            store.begin(TreeKey(stage, 0, number), Tree({"id": number}))
        with pytest.raises(StoreError, match="it has beam b/0/0 to beam b/0/2, pool a 8/0/0 to p"):
            store.read(KEY)
        with pytest.raises(StoreError, match=r"it has beam b/0/0 to beam b/0/2$"):
            store.read(TreeKey("beam b", 0, 1))


OPEN = (
    "import sys, hornbeam.store.database as s; s.Store(sys.argv[1]);"
    " print('open', flush=True); input()"
)


def test_two_processes_may_not_write_one_run(tmp_path: Path) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", OPEN, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(StoreError, match=rf"is open in process {other.pid}: wait for it"):
            Store(tmp_path)
        Store(tmp_path, read_only=True).close()
        other.kill()
    with Store(tmp_path), pytest.raises(StoreError, match=f"is open in process {os.getpid()}"):
        Store(tmp_path)
    Store(tmp_path).close()


GROW = """
import asyncio, sys
from hornbeam.store.ledger import Entry
from hornbeam.store.database import Store, TreeKey
from hornbeam.tree.nodes import Node, Origin, Tree, ids

async def main():
    store, key, tree = Store(sys.argv[1]), TreeKey("train", 0, 0), Tree({"id": "q"})
    store.begin(key, tree)
    for i in range(1, 10**6):
        tree.append(Node(i - 1, origin=Origin(step=i), tokens=ids([i])))
        store.write(key, tree, i, tree.nodes[i])
        store.enter([Entry(str(key), 0, i, "sampled_tokens", 1)])
        await asyncio.sleep(0)
        print(i, flush=True)

asyncio.run(main())
"""


def test_kill_loses_at_most_the_present_tick(tmp_path: Path) -> None:
    for round_, wait in enumerate((0.0, 0.05)):
        folder = tmp_path / str(round_)
        grower = subprocess.Popen(
            [sys.executable, "-c", GROW, str(folder)], stdout=subprocess.PIPE, text=True
        )
        with grower:
            assert grower.stdout is not None
            grower.stdout.readline()
            time.sleep(wait)
            grower.send_signal(signal.SIGKILL)
            printed = [line for line in grower.stdout if line.endswith("\n")]
        last = int(printed[-1]) if printed else 1
        with Store(folder) as store:
            tree = store.read(TreeKey("train", 0, 0)).tree
            assert last <= len(tree) - 1 <= last + 1
            assert [n.tokens[0] for n in tree.nodes[1:]] == [*range(1, len(tree))]
            assert store.totals()["sampled_tokens"] == len(tree) - 1  # cost and node together


def opened(path: Path) -> list[str]:
    """What this process holds open of a file."""
    links = [os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()]
    return [link for link in links if link.startswith(str(path))]


def test_damage_is_one_line(tmp_path: Path) -> None:
    with Store(tmp_path / "run") as store:
        fill(store, small_tree())
    database = tmp_path / "run" / "run.db"
    whole = database.read_bytes()
    database.write_bytes(b"something else entirely, and long enough to be looked at " * 50)
    with pytest.raises(StoreError, match=r"run: run.db is no database: bring it back") as result:
        Store(tmp_path / "run")
    assert not opened(database) and result.value.__traceback__
    database.write_bytes(whole[:4096] + os.urandom(len(whole) - 4096))
    with pytest.raises(StoreError, match="damaged") as result, Store(tmp_path / "run") as store:
        store.read(KEY)
    assert "\n" not in str(result.value)


def test_a_damaged_tree_is_named(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        fill(store, small_tree())
        store.columns(KEY, {"reward": [1.0] * 5})
        with pytest.raises(
            StoreError, match=r"tree train/3/0 is damaged: .*column 'reward' must have"
        ):
            store.read(KEY)
        with store._begin() as db:
            db.exec_driver_sql("delete from nodes where episode = 0 and node_step = 0")
        with pytest.raises(StoreError, match=r"tree train/3/0 is damaged: KeyError\(\(0, 0\)\)"):
            store.read(KEY)
        with pytest.raises(ValueError, match="a closed node has an index"):
            store.write(KEY, small_tree(), None, node(0, 5, 0))


@pytest.mark.parametrize(
    "cell",
    [
        "nodes set data = '1.5'",
        "nodes set data = '{'",
        "trees set columns = '[1]'",
        """trees set columns = '{"reward": 1}'""",
        "trees set task = '3'",
        "trees set seed = 'x'",
    ],
)
def test_a_damaged_cell_is_one_line(cell: str, tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        fill(store, small_tree())
        store.flush()
        with store._begin() as db:
            db.exec_driver_sql(f"update {cell}")
        with pytest.raises(StoreError, match="tree train/3/0 is damaged: ") as caught:
            store.read(KEY)
        assert "\n" not in str(caught.value)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be opened: Not a directory"):
        Store(tmp_path / "file" / "run")
    with pytest.raises(StoreError, match="no store on"):
        Store("oracle+oracledb://host/run")
    with pytest.raises(StoreError, match="install the driver of postgresql"):
        Store("postgresql+psycopg2://host/run")
    with pytest.raises(StoreError, match="Could not parse"):
        Store("://")


def test_a_full_disk_is_told_and_nothing_kept_is_lost(tmp_path: Path) -> None:
    """A page limit gives SQLite's own SQLITE_FULL, as a full disk does."""

    async def main(store: Store) -> int:
        tree = Tree({"id": "q"})
        store.begin(KEY, tree)
        store.flush()
        with store._begin() as db:
            db.exec_driver_sql("pragma max_page_count = 40")
        with pytest.raises(StoreError, match="the disk is full: free some space") as result:
            for i in range(1, 3000):
                tree.append(node(i - 1, 0, i - 1, text="x" * 200))
                store.write(KEY, tree, i, tree.nodes[i])
                await asyncio.sleep(0)
        assert "\n" not in str(result.value)
        with pytest.raises(StoreError, match="the disk is full"):
            store.flush()
        with store._begin() as db:
            db.exec_driver_sql("pragma max_page_count = 100000")
        store.flush()  # there is room again
        return len(tree)

    with Store(tmp_path) as store:
        asyncio.run(main(store))
        tree = store.read(KEY).tree
        assert len(tree) > 100
        assert [n.origin.step for n in tree.nodes[1:]] == [*range(len(tree) - 1)]


def test_what_is_no_json_is_refused_by_name(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        tree = Tree({"id": "q"})
        store.begin(KEY, tree)
        with pytest.raises(StoreError, match="node 0 of episode 0 of tree train/3/0 is no JSON"):
            store.write(KEY, tree, 1, node(0, 0, 0, answer=object()))
        with pytest.raises(StoreError, match="train/3/0 is in the run already: forget"):
            store.begin(KEY, tree)


def test_two_nodes_of_one_name_are_refused(tmp_path: Path) -> None:
    with Store(tmp_path) as store, pytest.raises(StoreError, match="the same episode and step"):
        store.begin(KEY, Tree({"id": "q"}, [Node(-1), Node(0), Node(0)]))


def test_another_format_is_refused(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.set("format", 99)
    with pytest.raises(StoreError, match="written in format 99"):
        Store(tmp_path)
    with pytest.raises(StoreError, match="written in format 99"):  # and the lock was given back
        Store(tmp_path)


def test_the_statements_are_postgresql_s_too() -> None:
    made = {
        name: str(s.compile(dialect=postgresql.dialect()))
        for name, s in upserts("postgresql").items()
    }
    assert "ON CONFLICT (name) DO UPDATE SET value = excluded.value" in made["meta"]
    assert "amount = (ledger.amount + excluded.amount)" in made["costs"]


def test_work_stays_linear(tmp_path: Path) -> None:
    """Cost of a node does not grow with the tree: the last tenth is not dearer than the first."""

    def grow(tree: Tree, count: int) -> None:
        for _ in range(count // 50):
            for _ in range(50):
                i = tree.append(node(len(tree) - 1, 0, len(tree) - 1))
                store.write(KEY, tree, i, tree.nodes[i])
            store.flush()

    async def main() -> tuple[int, int]:
        tree = Tree({"id": "q"})
        store.begin(KEY, tree)
        grow(tree, 100)  # what is done once only
        first = lines_run(lambda: grow(tree, 300))
        grow(tree, 5000)
        return first, lines_run(lambda: grow(tree, 300))

    with Store(tmp_path) as store:
        first, last = asyncio.run(main())
    assert last < 1.5 * first


def test_stored_trees_are_the_format_s_own(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        fill(store, small_tree())
        assert json.dumps(to_json(store.read(KEY).tree)) == json.dumps(to_json(small_tree()))
