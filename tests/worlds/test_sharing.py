"""No two episodes, trees or processes share a world; what a budget cuts off goes on."""

import asyncio
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hornbeam.errors import BudgetSpent
from hornbeam.store.ledger import Budget
from hornbeam.tree.nodes import Tree
from hornbeam.tree.task import Task
from hornbeam.worlds import Snapshots

from .killed_growth import SCRIPT, grow
from .kinds import KINDS, Machine, check
from .sandbox_server import forgotten, shared_server
from .test_laws import KEY, grower

ME = Path(__file__).with_name("killed_growth.py")
TASK = Task("t", "?")
FILES = ("folder", "worktree", "sqlite", "e2b")  # which lie outside of the process


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """Where worlds lie that are folders."""
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    return tmp_path / "scratch"


def left(scratch):
    """What is left of worlds and snapshots."""
    forgotten()
    return [*scratch.glob("hornbeam-worlds-*/*/*"), *shared_server().left]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_forks_that_are_made_at_once_have_nothing_in_common(scratch, kind):
    make, act = KINDS[kind]
    worlds = make()
    first = worlds.open(TASK)
    act("add", "first", first)
    taken = worlds.snapshot(first)

    def forked(number):
        machine, world = Machine(), worlds.restore(taken.data, TASK)
        machine.items = ["first"]
        words = [("add", f"t{number}"), ("drop", ""), ("add", "more"), ("last", "")][
            : number % 4 + 1
        ]
        try:
            return [machine.act(*w) for w in words], [act(*w, world) for w in words]
        finally:
            worlds.close(world)

    with ThreadPoolExecutor(8) as pool:
        for alone, heard in pool.map(forked, range(12)):
            assert heard == alone
    assert act("last", "", first) == [1, "first"]  # nothing of the others
    worlds.close(first)
    worlds.drop(taken.data)
    assert left(scratch) == []


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_trees_that_grow_at_once_share_no_world(scratch, kind):
    held = Snapshots(KINDS[kind][0]())

    async def both():
        growing = []
        for seed in (1, 2):
            _, how = grower(kind, "branch", SCRIPT, ["add"])
            how.worlds = held
            growing.append(how.grow(KEY, Tree(TASK.to_json(), seed=seed)))
        return await asyncio.gather(*growing)

    trees = asyncio.run(both())
    for tree in trees:
        check(tree)
    assert len(held) == 0 and left(scratch) == []


@pytest.mark.parametrize("kind", FILES)
def test_runs_of_two_processes_share_no_world(tmp_path, kind):
    whole = grow(tmp_path / "whole", kind, "branch", 0)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    more = {"TMPDIR": str(scratch), "URL_OF_SANDBOXES": shared_server().url}
    started = [
        subprocess.Popen(
            [sys.executable, str(ME), str(tmp_path / name), kind, "branch", "0"],
            env={**os.environ, **more},
            stdout=subprocess.PIPE,
        )
        for name in ("one", "two")
    ]
    for process in started:
        assert json.loads(process.communicate()[0]) == json.loads(json.dumps(whole))
    assert not [*scratch.glob("hornbeam-*")]
    forgotten()
    assert shared_server().left == []


@pytest.mark.parametrize("kind", ["python", "forking", *FILES])
def test_a_budget_that_ends_in_the_middle_of_forks_loses_nothing(tmp_path, scratch, kind):
    whole = grow(tmp_path / "whole", kind, "branch", 0)
    calls, ended = 3, 0
    while True:
        try:
            tree = grow(tmp_path / "run", kind, "branch", 0, Budget(calls=calls))
        except BudgetSpent as error:
            assert "budget.calls" in str(error) and "\n" not in str(error)
            assert left(scratch) == []
            calls += 5 if kind in FILES else 2
            ended += 1
            continue
        break
    assert ended > 2 and tree == whole
