"""A job killed at a write ends, run again, as if nobody had disturbed it: a few kills of
bench/kills.py, and its facts by hand.
"""

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hornbeam.assembly.step_costs import account
from hornbeam.errors import StoreError
from hornbeam.files.atomic import whole_file, whole_folder
from hornbeam.grow.guide_costs import Read
from hornbeam.grow.resumed import Before
from hornbeam.jobs.train.training import Run, Trainer
from hornbeam.store.database import Store, Stored, TreeKey
from hornbeam.store.ledger import Entry, Ledger, lost
from hornbeam.tree.nodes import Node, Origin, Tree, ids
from hornbeam.view.account import cost_table, totals

from .doors import Silent

BENCH = Path(__file__).parents[2] / "bench" / "kills.py"
KEY = TreeKey("train", 3, 0)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("jobs", "how"),
    [
        (["fit", "label"], ["--every", "30", "--stride", "6", "--first", "2"]),
        (["anchor"], ["--every", "6", "--first", "9"]),  # in the teacher's second attempt
        (["train exact"], ["--of", "checkpoints", "--again", "--stride", "14", "--first", "8"]),
    ],
)
def test_killed_at_writes(tmp_path, jobs, how):
    result = tmp_path / "told.json"
    command = [sys.executable, str(BENCH), "--jobs", *jobs, *how, "--json", str(result)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(result.read_text())
    assert found["runs"] == found["as undisturbed"] >= 5
    assert {row["job"] for row in found["jobs"]} == set(jobs)


def test_what_was_done_again_stands_beside_what_a_run_paid_under_names_of_its_own(tmp_path):
    step = [Entry("train/3", -1, -1, kind, 7) for kind in ("tokens_flat", "tokens_unique")]
    turns = lost(Entry(str(KEY), 0, 1, "turn_tokens_kept", 2))
    with Store(tmp_path) as store:
        store.enter(step)
        once = account(store)
        store.enter([*map(lost, step), lost(step[1]), turns])
        costs = account(store)
    assert once == {"tokens_flat": 7, "tokens_unique": 7}
    assert costs == {**once, "redone_tokens_flat": 7, "redone_tokens_unique": 14}
    assert totals(costs) == {"tokens": 21}  # what was done again was paid for
    rows = re.findall(r"<tr><th scope=row>(.*?)</th><td>(.*?)</td>", cost_table(costs))
    assert ("trainer, unique", "7") in rows
    assert ("redone after a stop: trainer, unique", "14") in rows


def one_run(made, path):
    recipe, plan = made("run.steps=1")
    return Run(recipe, plan, path, Silent()).parts


def one_of_several(made, path):
    recipe, plan = made("run.steps=1", "policies={own={}}", 'agents.player.policy="own"')
    return Trainer(recipe, plan, path, Silent(), "own").parts


@pytest.mark.parametrize("parts_of", [one_run, one_of_several])
def test_a_step_is_kept_with_its_costs_or_not_at_all(made, tmp_path, parts_of):
    parts = parts_of(made, tmp_path / "run")
    store, tree = parts.folder.store, Tree({"id": "a"})
    tree.append(Node(0, "player", tokens=ids([4]), finish="stop"))
    tree.column("reward")[1] = 1.0
    update = {"tokens_flat": 5.0, "tokens_unique": 4.0}

    async def record(**more):
        parts.recorder.record(0, [tree], {**update, **more}, 0.1, 0.2)

    with pytest.raises(StoreError, match="a row of metrics is no JSON"):
        asyncio.run(record(loss={1}))
    assert store.totals("train") == {} and store.metrics() == []
    asyncio.run(record(loss=0.5))
    assert store.totals("train") == update and [row["step"] for row in store.metrics()] == [0]

    async def trained_again():
        parts.recorder.record_again(0, update)
        with Store(tmp_path / "run", read_only=True) as other:  # before a checkpoint is written
            assert account(other)["redone_tokens_unique"] == 4
            assert other.totals("train") == update

    asyncio.run(trained_again())
    asyncio.run(parts.closing.aclose())


def test_a_file_and_a_folder_are_there_whole_or_not_at_all(tmp_path):
    place = tmp_path / "a"
    place.write_text("old")
    with pytest.raises(KeyError), whole_file(place) as stream:
        stream.write("half")
        raise KeyError
    assert place.read_text() == "old" and [*tmp_path.iterdir()] == [place]
    with whole_file(place) as stream:
        stream.write("new")
    assert place.read_text() == "new"
    folder = tmp_path / "b"
    for text in ("one", "two"):
        with whole_folder(folder) as part:
            (part / "file").write_text(text)
    with pytest.raises(KeyError), whole_folder(folder) as part:
        (part / "file").write_text("half")
        raise KeyError
    assert (folder / "file").read_text() == "two"
    folder.rename(tmp_path / ".b.old")  # killed between the renames: the old one comes back
    with pytest.raises(KeyError), whole_folder(folder):
        raise KeyError
    assert (folder / "file").read_text() == "two"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_what_is_in_no_result_yet_is_lost_until_it_is_kept(tmp_path):
    paid = [Entry(str(KEY), 0, 0, "sampled_tokens", 5), Entry(str(KEY), 0, 0, "model_calls", 1)]
    with Store(tmp_path) as store:
        ledger = Ledger(sink=store.enter)
        ledger.reserve(tokens=5, calls=1).settle(paid, later=True)
        assert store.totals("train") == {}
        assert store.totals("lost train", 3) == {"sampled_tokens": 5, "model_calls": 1}
        ledger.keep(paid)
        assert [*store.entries()] == sorted(paid)
        assert ledger.totals == {"sampled_tokens": 5, "model_calls": 1} == store.totals()
    question = Ledger(redoes=False)
    question.enter([*paid, *map(lost, paid)])
    assert question.totals["sampled_tokens"] == 5 and question.calls == 1


def test_what_is_run_again_after_a_stop_is_told_apart():
    #   0 task > 1: ids 1 2 3, said 4 5 > 2: ids .. 6, said 7; only what call 1 ran is paid
    tree = Tree({"id": "a"})
    one = tree.append(Node(0, "m", prompt=ids([1, 2, 3]), tokens=ids([4, 5]), finish="stop"))
    more = {"origin": Origin(0, 1, 1), "finish": "stop"}
    tree.append(Node(one, "m", prompt=ids([6]), tokens=ids([7]), **more))
    costs = [
        Entry(str(KEY), 0, 0, "prompt_tokens_computed", 3),
        Entry(str(KEY), 0, 1, "prompt_tokens_computed", 2),  # 5, whose keys nobody had, and 6
    ]
    before = Before.of({KEY: Stored(tree, False, [])}, costs)
    assert before.known(ids([1, 2, 3, 4, 5, 6, 9])) == 6
    assert before.again(ids([1, 2, 3, 4, 5, 6]), 6) == 6  # asked before: its logits were kept
    assert before.again(ids([1, 2, 3, 4]), 4) == 3  # the last is run again for its logits
    assert before.again(ids([1, 2, 9, 9]), 4) == 2
    assert before.again(ids([1, 2, 3, 9]), 1) == 0  # found in the cache, all but the last
    other = Before.of({KEY: Stored(tree, False, [])}, costs[:1])
    assert other.again(ids([1, 2, 3, 4, 5, 6]), 6) == 4  # call 2 found all of it: another paid


def test_what_a_guide_reads_is_paid_by_the_first_episode_that_has_it_whoever_was_read_first():
    read = Read()
    assert read.read(1, [ids([1, 2]), ids([1, 2, 3])], 3) == (3, {})
    assert read.new([ids([1, 2, 4])]) == 1
    assert read.read(2, [ids([1, 2, 4])], 1) == (1, {})
    assert read.read(0, [ids([1, 2, 4, 5])], 1) == (1, {1: 2, 2: 1})
    assert read.read(3, [ids([1, 2, 4])], 9) == (0, {})
    assert read.read(3, [ids([7, 8])], 0) == (0, {})  # what it did not run, it does not pay
