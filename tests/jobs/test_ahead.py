"""Growing ahead: at most k versions old, every tree once, stale branches dropped and counted."""

import asyncio
import json
from types import SimpleNamespace

import pytest

from hornbeam.assembly.plan import plan
from hornbeam.errors import RecipeError
from hornbeam.jobs.train.ahead import Ahead, drop_stale, staleness
from hornbeam.jobs.train.training import Run
from hornbeam.recipe.recipe import load_recipe
from hornbeam.store.database import Store, TreeKey
from hornbeam.tree.nodes import INJECTED, Node, Origin, Tree, ids

from .doors import Silent

RECIPE = """
run = {steps = 6, tasks = 4, eval_every = 2, eval_start = false, checkpoint_every = 1, behind = 1}
model = {name = "tiny", options = {width = 32}}
agents = {seeker = {max_tokens = 4}}
program = {name = "lookup"}
tools = {lookup = {}}
reward = {rule = "exact"}
grow = {n = 4}
loss = {old = "trainer", truncate = 2.0}
optim = {lr = 6e-4}
sft = {count = 24, epochs = 24, lr = 5e-3, batch_size = 8}
[[tasks.train]]
source = "lookup"
count = 24
options = {depth = 2, known = 0.5}
[[tasks.eval]]
source = "lookup"
split = "test"
count = 4
options = {depth = 2, known = 0.5}
"""


def made(folder, *sets):
    (folder / "doors.toml").write_text(RECIPE)
    recipe = load_recipe(folder / "doors.toml", sets)
    return recipe, plan(recipe, folder)


def go(folder, *sets):
    progress = Silent()
    asyncio.run(Run(*made(folder, *sets), folder / "run", progress).go())
    rows = map(json.loads, (folder / "run" / "metrics.jsonl").read_text().splitlines())
    with Store(folder / "run", read_only=True) as store:
        trees = {key: store.read(key) for key in store.keys("train")}
    return {row["step"]: row for row in rows if row["kind"] == "train"}, trees


def first_versions(trees):
    """step -> (least, greatest) version of its nodes, warm start taken off."""
    spoken = {}
    for key, stored in trees.items():
        spoken.setdefault(key.step, set()).update(n.origin.version for n in stored.tree.nodes[1:])
    least = min(min(found) for found in spoken.values())
    return {step: (min(found) - least, max(found) - least) for step, found in spoken.items()}


def test_trees_are_at_most_one_version_old_and_grown_once(tmp_path):
    rows, trees = go(tmp_path)
    assert sorted(trees) == [TreeKey("train", step, n) for step in range(6) for n in range(4)]
    assert all(stored.done for stored in trees.values())
    updates = [rows[step]["updates"] for step in range(6)]
    trained = [int(sum(updates[:step])) for step in range(6)]  # versions before each step
    for step, (low, high) in first_versions(trees).items():
        assert trained[max(0, step - 1)] <= low <= high <= trained[step]
    assert sum(row["age"] for row in rows.values()) > 0  # something did grow ahead
    assert all(row["stale"] == 0 for row in rows.values())
    for row in rows.values():
        step = row["seconds_grow"] + row["seconds_train"] + 0.01
        assert 0 <= row["seconds_engine_idle"] <= step and 0 <= row["seconds_trainer_idle"] <= step
    paid = sum(row["sampled_tokens"] for row in rows.values())
    assert paid == sum(len(n.tokens) for s in trees.values() for n in s.tree.nodes)


def test_a_stopped_run_goes_on(tmp_path):
    go(tmp_path, "run.steps=3")
    rows, trees = go(tmp_path)
    assert sorted(rows) == [*range(6)] and len(trees) == 24
    assert all(stored.done for stored in trees.values())


def test_in_step_nothing_is_old(tmp_path):
    rows, trees = go(tmp_path, "run.behind=0")
    assert all(low == high for low, high in first_versions(trees).values())
    assert "age" not in rows[0]
    for row in rows.values():  # one works while the other waits
        assert row["seconds_trainer_idle"] == row["seconds_grow"]
        assert row["seconds_engine_idle"] <= row["seconds_rows_empty"]  # and while few grow
        assert row["seconds_engine_idle"] == row["seconds_train"]


def test_growth_of_a_step_begins_when_all_but_k_before_it_are_trained():
    began, trained = [], []

    async def scene(behind):
        gates = [asyncio.Event() for _ in range(5)]

        async def grow(step):
            began.append((step, len(trained)))
            await gates[step].wait()
            return [step]

        ahead = Ahead(grow, 5, behind)
        for step in range(5):
            asyncio.get_running_loop().call_later(0.01, gates[step].set)
            assert await ahead.trees(step) == [step]
            await asyncio.sleep(0)
            trained.append(step)
        idle, waited = ahead.take()
        assert idle >= 0 and waited > 0.005 and ahead.take()[1] == 0
        await ahead.aclose()

    asyncio.run(scene(2))
    assert began == [(0, 0), (1, 0), (2, 0), (3, 1), (4, 2)]


def test_what_still_grows_is_stopped():
    ended = []

    async def scene():
        async def grow(step):
            try:
                await asyncio.sleep(0 if step == 0 else 60)
            except asyncio.CancelledError:
                ended.append(step)
                raise
            return []

        ahead = Ahead(grow, 3, 2)
        await ahead.trees(0)
        await ahead.aclose()

    asyncio.run(scene())
    assert ended == [1, 2]


def branches():
    """Two leaves: one spoken by versions 3 and 5, one by 3 and 1; an injected one beside them."""
    tree = Tree({"id": "t"})
    said = {"agent": "a", "tokens": ids([1])}
    tree.append(Node(0, origin=Origin(version=3), **said))
    tree.append(Node(1, origin=Origin(version=5), done=True, **said))
    tree.append(Node(1, origin=Origin(episode=1, version=1), done=True, **said))
    tree.append(Node(0, origin=Origin(episode=2, version=INJECTED), done=True, **said))
    tree.columns["reward"] = [None, None, 1.0, 0.5, 1.0]
    return tree


@pytest.mark.parametrize(
    ("behind", "left"), [(4, [1, 0.5, 1]), (3, [1, None, 1]), (1, [None, None, 1])]
)
def test_branches_that_are_too_old_are_dropped(behind, left):
    policies = [SimpleNamespace(policy=SimpleNamespace(version=5), agents={"a"})]
    tree = branches()
    assert drop_stale([tree], policies, behind) == left.count(None)
    assert tree.columns["reward"][2:] == left
    marks = tree.columns.get("stale", [None] * 5)[2:]
    assert [mark == 1 for mark in marks] == [reward is None for reward in left]
    assert drop_stale([tree], policies, behind) == 0  # told once
    assert staleness([tree], policies) == pytest.approx((2 + 0 + 4) / 3)
    others = [SimpleNamespace(policy=SimpleNamespace(version=50), agents={"b"})]
    assert drop_stale([branches()], others, 0) == 0


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["run.resume=exact"], "behind = 0"),
        (["anchor={refresh=2}", "credit.method=pvpo"], "refresh, tracker"),
    ],
)
def test_what_hangs_on_the_order_of_time_is_refused(tmp_path, sets, message):
    with pytest.raises(RecipeError, match=message):
        Run(*made(tmp_path, *sets), tmp_path / "run", Silent())
    assert not (tmp_path / "run").exists()
