"""Laws of worlds: every kind, under every strategy, hears in a fork what a run alone hears."""

import asyncio
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbeam.grow.grower import Grower
from hornbeam.grow.speakers import Speaker
from hornbeam.score.function_scorer import FunctionScorer
from hornbeam.search import strategies
from hornbeam.store.keys import TreeKey
from hornbeam.store.ledger import Ledger
from hornbeam.tree.nodes import Tree
from hornbeam.tree.task import Task
from hornbeam.workers.local_workers import LocalWorkers
from hornbeam.worlds import OwnWorld, Snapshots, worlds

from .kinds import KINDS, STRATEGIES, WORDS, ByText, Forking, check, program_of, speakers
from .sandbox_server import forgotten, shared_server

KEY = TreeKey("try", 0, 0)
SCRIPTS = st.lists(st.lists(st.sampled_from(WORDS), max_size=3), min_size=1, max_size=4)
FIRST = st.lists(st.sampled_from(WORDS), max_size=2)


def grower(kind, strategy, script, first=(), **more):
    make, act = KINDS[kind]
    snapshots = Snapshots(make(**more))
    agents = {name: Speaker(engine) for name, engine in speakers().items()}
    entries = []
    return entries, Grower(
        program_of(script, first),
        agents,
        STRATEGIES[strategy],
        FunctionScorer(lambda task, answer: len(str(answer)) % 5 / 4),
        LocalWorkers({"act": act}),
        Ledger(sink=entries.extend),
        guides=[ByText()] if "value" in STRATEGIES[strategy].reads else [],
        worlds=snapshots,
    )


def grown(how, seed=0, start=None):
    start = Tree(Task("t", "?").to_json(), seed=seed) if start is None else start
    return asyncio.run(how.grow(KEY, start))


def law(kind, strategy, script, first, seed, **more):
    entries, how = grower(kind, strategy, script, first, **more)
    tree = grown(how, seed)
    check(tree)
    assert len(how.worlds) == how.worlds.size == 0  # nothing is kept of a grown tree
    assert Forking.open == 0
    if kind == "e2b":
        forgotten()
        assert shared_server().left == []
    return tree, entries


def test_a_world_that_is_being_made_for_a_growth_that_stops_is_closed():
    began, go = threading.Event(), threading.Event()

    class Slow(Forking):
        kept = False

        def fork(self):
            other = Slow()
            other.items, other.kept = [*self.items], not self.kept
            if self.kept:  # a fork from a snapshot
                began.set()
                go.wait(30)
            return other

    _, how = grower("forking", "branch", [["add"]] * 4)
    how.worlds = Snapshots(OwnWorld().made_by(Slow))

    async def stopped():
        growing = asyncio.create_task(how.grow(KEY, Tree(Task("t", "?").to_json())))
        await asyncio.to_thread(began.wait, 30)
        growing.cancel()
        await asyncio.sleep(0)
        go.set()
        await asyncio.wait([growing])
        assert growing.cancelled()

    asyncio.run(stopped())
    assert began.is_set() and Forking.open == 0


QUICK = ("python", "copied", "forking", "saved")


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kind", QUICK)
@settings(max_examples=8, deadline=None)
@given(SCRIPTS, FIRST, st.integers(0, 99), st.sampled_from([{}, {"keep": 300}, {"fork": "rerun"}]))
def test_forks_hear_what_a_run_alone_hears(kind, strategy, script, first, seed, more):
    _, entries = law(kind, strategy, script, first, seed, **more)
    if not more:  # all that a strategy forks from was kept
        assert not [entry for entry in entries if entry.kind == "world_calls_again"]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kind", sorted(set(KINDS) - {*QUICK}))
@settings(max_examples=2, deadline=None)
@given(SCRIPTS, FIRST, st.integers(0, 99))
def test_so_do_those_of_folders_and_databases(kind, strategy, script, first, seed):
    _, entries = law(kind, strategy, script, first, seed)
    assert not [entry for entry in entries if entry.kind == "world_calls_again"]


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {*QUICK}))
@settings(max_examples=3, deadline=None)
@given(st.sampled_from(sorted(STRATEGIES)), SCRIPTS, FIRST, st.integers(0, 99))
def test_so_do_those_whose_calls_are_made_again(kind, strategy, script, first, seed):
    law(kind, strategy, script, first, seed, fork="rerun")


def test_these_are_all_kinds_and_strategies():
    made = {type(make()) for make, _ in KINDS.values()}
    assert made == {*worlds.values(), OwnWorld}
    assert {type(how) for how in STRATEGIES.values()} == {*strategies.values()}
