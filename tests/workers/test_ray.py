"""Trees grown by actors of a real Ray cluster on this machine, one started for the whole file."""

import asyncio
import importlib.util
import json
import os
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

# Set before ray is imported: its warnings of things to come, and what it sends home.
os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

from hornbeam.assembly.examples import demonstrations, examples
from hornbeam.assembly.judges import content
from hornbeam.assembly.loading import load_policies, model_folders
from hornbeam.assembly.plan import plan
from hornbeam.assembly.policies import Policies
from hornbeam.assembly.task_order import tree_seed
from hornbeam.assembly.world import World
from hornbeam.errors import BudgetSpent, EngineLost, HornbeamError, RecipeError, WorkerError
from hornbeam.jobs.recipe_checks import check_decoupled
from hornbeam.jobs.train.actors.actor import Actor
from hornbeam.jobs.train.actors.actor_pool import ActorPool
from hornbeam.jobs.train.actors.growth_settings import GrowthSettings
from hornbeam.jobs.train.training import Run
from hornbeam.recipe.recipe import load_recipe
from hornbeam.store.database import Store, TreeKey
from hornbeam.store.ledger import Budget, Ledger
from hornbeam.train import weights
from hornbeam.tree.jsonl import to_json
from hornbeam.tree.nodes import Tree
from hornbeam.workers.ray_actors import Cluster, RayActors
from jobs.doors import Silent

here = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="ray is not installed: '.[ray]'"
)
pytestmark = [
    pytest.mark.timeout(600),  # processes of their own, each of which imports torch
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # pipes that Ray leaves open
]
RECIPE = """
run = {steps = 2, tasks = 6, eval_every = 0, eval_start = false, checkpoint_every = 1}
model = {name = "tiny", options = {width = 32}}
agents = {seeker = {max_tokens = 4}}
program = {name = "lookup"}
tools = {lookup = {use = "tools.py:look"}}
reward = {rule = "exact"}
grow = {strategy = "branch", trunks = 2, nodes = 2, rounds = 1}
optim = {lr = 6e-4}
sft = {count = 40, epochs = 8, lr = 5e-3, batch_size = 8}
engine = {max_batch = 1, cache_tokens = 0}  # answers hang on nothing but the request
[[tasks.train]]
source = "lookup"
count = 60
options = {depth = 2}
[[tasks.eval]]
source = "lookup"
split = "test"
count = 4
options = {depth = 2}
"""
TOOLS = """
import os, pathlib, signal, time
from hornbeam.tasks.lookup_world import lookup

HERE = pathlib.Path(__file__).parent


def look(task, key):
    with (HERE / "calls").open("a") as log:
        log.write(f"{os.getpid()} {task.id} {key}\\n")
    try:  # one of several calls at once
        (HERE / "deadly").unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    except FileNotFoundError:
        pass
    if (HERE / "slow").exists():
        time.sleep(0.05)
    if key.endswith("7"):
        raise ValueError("the door is stuck")
    return lookup(task, key)
"""


@pytest.fixture(scope="module")
def cluster():
    """A cluster of two CPUs on this machine."""
    first = RayActors(Cluster(), dict, print)
    yield first
    first.close()


@pytest.fixture
def made(tmp_path):
    """Makes (recipe, plan) with changes, in a folder of its own."""
    (tmp_path / "tools.py").write_text(TOOLS)
    (tmp_path / "doors.toml").write_text(RECIPE)

    def make(*sets):
        recipe = load_recipe(tmp_path / "doors.toml", sets)
        return recipe, plan(recipe, tmp_path)

    return make


RAY = ("workers.kind=ray", "workers.growers=2")


def go(made, folder):
    """Run to the end: what was said, all trees, the ledger's sums, the final weights."""
    watch = Silent()
    asyncio.run(Run(*made, folder, watch).go())
    with Store(folder, read_only=True) as store:
        trees = {str(key): store.read(key) for key in store.keys(None)}
        costs = store.totals()
    model, _ = weights.load(folder / "final")
    plain = {key: to_json(left.tree) for key, left in trees.items() if left.done}
    assert len(plain) == len(trees)
    kept = {kind: costs[kind] for kind in costs if "seconds" not in kind}
    return watch.text.getvalue(), plain, kept, model.state_dict()


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


@here
def test_actors_grow_what_one_process_grows_though_one_is_killed(cluster, made, tmp_path):
    _, trees, costs, final = go(made(), tmp_path / "alone")
    calls = [c for t in trees.values() for n in t["nodes"] for c in n.get("calls", ())]
    assert "ValueError: the door is stuck" in {call.get("error") for call in calls}
    (tmp_path / "calls").unlink()
    (tmp_path / "deadly").touch()
    said, grown, paid, ended = go(made(*RAY), tmp_path / "crew")
    assert not (tmp_path / "deadly").exists() and "An actor died, its jobs are done again" in said
    pids = {line.split()[0] for line in (tmp_path / "calls").read_text().splitlines()}
    assert len(pids) >= 2 and str(os.getpid()) not in pids
    assert grown == trees and paid == costs
    assert same(final, ended)


MINE = """
from hornbeam.search import Branch
from hornbeam.tasks.lookup_world import lookup


class Wide(Branch):
    pass


def pairs(text, size: int = 2):
    return list(range(size, len(text), size))


def worth(tree, node):
    return tree.nodes[node].text.count("e") / 4
"""
OWN = (
    "grow.strategy=mine.py:Wide",
    "agents.seeker.segment={by='mine.py:pairs',options={size=1}}",
    "credit={method='shaped',column='own'}",
    "guides.own={kind='mine.py:worth'}",
    "run.steps=1",
    "sft={count=8, epochs=1}",  # it says more than one word
)


@here
def test_actors_grow_by_own_code_as_one_process_does(cluster, made, tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    _, trees, costs, final = go(made(*OWN), tmp_path / "alone")
    chunks = {n.get("finish") for t in trees.values() for n in t["nodes"]}
    assert "chunk" in chunks and all(
        "own" in t["columns"] for k, t in trees.items() if "train" in k
    )
    _, grown, paid, ended = go(made(*OWN, *RAY), tmp_path / "crew")
    assert grown == trees and paid == costs and same(final, ended)


@here
def test_actors_grow_ahead_of_training(cluster, made, tmp_path):
    weighed = ("loss.old=trainer", "loss.truncate=2.0", "engine.max_batch=8")
    go(made("run.behind=1", "run.steps=4", *weighed, *RAY), tmp_path / "run")
    rows = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    updates = [int(row["updates"]) for row in rows if row["kind"] == "train"]
    with Store(tmp_path / "run", read_only=True) as store:
        keys = store.keys("train")
        trees = {key: store.read(key).tree for key in keys}
    assert keys == [TreeKey("train", step, n) for step in range(4) for n in range(6)]
    spoken = {
        key: {n.origin.version for n in tree.nodes[1:] if n.tokens} for key, tree in trees.items()
    }
    first, ahead = min(min(found) for found in spoken.values()), 0
    for key, found in spoken.items():
        assert sum(updates[: max(0, key.step - 1)]) <= min(found) - first
        assert max(found) - first <= sum(updates[: key.step])
        ahead += min(found) - first < sum(updates[: key.step])
    assert ahead  # some did grow beside a step


@here
def test_a_run_left_half_grown_goes_on_in_actors(cluster, made, tmp_path):
    _, trees, _, final = go(made(), tmp_path / "alone")
    asyncio.run(Run(*made("budget.calls=75"), tmp_path / "run", Silent()).go())
    with Store(tmp_path / "run", read_only=True) as store:
        left = [store.read(key) for key in store.keys("train")]
    assert any(len(each.tree) > 1 and not each.done for each in left)
    _, grown, _, ended = go(made("workers.kind=ray", "workers.growers=1"), tmp_path / "run")
    assert {key: grown[key] for key in trees} == trees and same(final, ended)


def starts(made, count):
    recipe, what = made
    keys = [TreeKey("train", 0, number) for number in range(count)]
    tasks = what.train.tasks
    return [(k, Tree(t.to_json(), seed=tree_seed(recipe.run.seed, k))) for k, t in zip(keys, tasks)]


@here
def test_weights_change_under_way_and_a_budget_ends_the_handing_out(cluster, made, tmp_path):
    recipe, what = both = made("workers.kind=ray", "workers.growers=1", "engine.max_batch=8")
    model_folders(recipe, tmp_path / "model", print)
    pool = ActorPool(recipe, what.base, tmp_path / "model", print, load_policies)
    (member,) = pool.policies
    world = World.build(recipe, what, pool.policies)
    (tmp_path / "slow").touch()
    shown = demonstrations(what.train.tasks, what.demonstration, 40)
    given = [one for turns in shown for one in examples(turns, member.engine.chat)]
    assert list(member.policy.fit(given, recipe.sft))
    before = member.policy.version

    async def under_way(folder):
        with Store(folder) as store:
            grower = pool.growing(world.grower(Ledger(sink=store.enter), store))
            await pool.policies.load()
            growing = asyncio.create_task(grower.grow_all(starts(both, 6), 6))
            while not (tmp_path / "calls").exists():
                assert not growing.done()
                await asyncio.sleep(0.01)
            with torch.no_grad():
                for parameter in member.policy.model.parameters():
                    parameter.mul_(1.01)
            member.policy.version += 1
            await pool.policies.load()
            return await growing

    try:
        trees = asyncio.run(under_way(tmp_path / "one"))
        found = [[n.origin.version for n in tree.nodes[1:] if n.tokens] for tree in trees]
        assert {before, before + 1} == {version for each in found for version in each}
        for tree in trees:
            for i, node in enumerate(tree.nodes):
                above = tree.nodes[node.parent] if i else node
                assert not node.tokens or node.origin.version >= above.origin.version

        async def spend(store):
            ledger = Ledger(Budget(calls=20), sink=store.enter)
            await pool.growing(world.grower(ledger, store)).grow_all(starts(both, 6), 2)

        with Store(tmp_path / "two") as store:
            with pytest.raises(BudgetSpent, match=r"budget\.calls"):
                asyncio.run(spend(store))
            kept = [store.read(key) for key in store.keys("train")]
            assert 2 <= len(kept) < 6 and all(left.done for left in kept)
            calls = store.totals()
            assert calls["model_calls"] + calls["tool_calls"] >= 20
    finally:
        pool.close()


def test_an_actor_speaks_with_the_adapters_it_is_sent(made, tmp_path):
    recipe, what = both = made("lora={rank=2}", "workers.kind=ray")
    folders = model_folders(recipe, tmp_path / "model", print)
    policies = Policies(recipe, folders)
    (member,) = policies
    with torch.no_grad():
        for parameter in member.policy.model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3)
    grower = World.build(recipe, what, policies).grower(Ledger(), None)
    result = weights.trained(member.policy.model)
    assert result and all("lora" in name for name in result)

    async def coming():
        return result

    async def grow():
        there = Actor(recipe, what.base, {"": (folders[""], content(folders[""]))})
        key, start = starts(both, 1)[0]
        tree, entries, *_ = await there.grow(
            key, start, GrowthSettings.of(grower), {"": (1, 3, coming())}
        )
        await member.engine.load(3)
        return tree, entries, await grower.grow(*starts(both, 1)[0])

    tree, entries, own = asyncio.run(grow())
    assert to_json(tree) == to_json(own) and {n.origin.version for n in tree.nodes if n.tokens} == {
        3
    }
    totals = {kind: amount for kind, amount in grower.ledger.totals.items() if kind != "seconds"}
    paid = dict.fromkeys(totals, 0)
    for entry in entries:
        paid[entry.kind] += entry.amount
    assert paid == totals
    with pytest.raises(HornbeamError, match="other weights than the driver's"):
        Actor(recipe, what.base, {"": (folders[""], "another")})
    with pytest.raises(HornbeamError, match="weights of another model"):
        weights.take(member.policy.model, {"x": next(iter(result.values()))})


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:1", "no answer from 127.0.0.1:1 (Connect"),
        ("ray://127.0.0.1:1", "no answer from ray://127.0.0.1:1"),
        ("cluster", "'cluster' is no Ray address: auto, HOST:6379 or ray://HOST:10001"),
    ],
)
@here
def test_a_bad_address_is_told_at_once(address, message):
    began = time.monotonic()
    with pytest.raises(WorkerError) as error:
        RayActors(Cluster(address=address), dict, print)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert time.monotonic() - began < 20


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RecipeError, match=r"pip install -e '\.\[ray\]'"):
        RayActors(Cluster(), dict, print)


def test_what_actors_cannot_promise_is_refused(made, tmp_path):
    exact = ("run.resume=exact", "engine={}", *RAY)
    recipe, what = made(*exact)
    with pytest.raises(RecipeError, match=r"set engine.max_batch = 1 and engine.cache_tokens = 0"):
        ActorPool(recipe, what.base, tmp_path, print, load_policies)
    with pytest.raises(RecipeError, match=r"its trees grow beside the trainer"):
        check_decoupled(made("policies={a={}}", *RAY)[0], "a")


def done_by(actors, jobs, at_once):
    """What came of jobs, in the order in which it came."""
    came = []

    async def work():
        await actors.each(
            "work", jobs, at_once, lambda job: (job,), lambda _, what: came.append(what)
        )

    try:
        asyncio.run(work())
    finally:
        actors.close()
    return came


@here
def test_actors_have_the_priority_of_the_process_that_starts_them(cluster):
    class Niceness:
        async def work(self, _):
            return os.nice(0)

    assert done_by(RayActors(Cluster(growers=1), Niceness, print), [0], 1) == [os.nice(0)]


@here
def test_an_actor_whose_engine_is_lost_is_replaced(cluster, tmp_path):
    class Speechless:
        async def work(self, job):
            if job == 1 and not (tmp_path / "lost").exists():
                (tmp_path / "lost").touch()
                raise EngineLost("vLLM's process has died")
            return job, os.getpid()

    said = []
    came = done_by(RayActors(Cluster(growers=1), Speechless, said.append), range(3), 1)
    assert sorted(job for job, _ in came) == [0, 1, 2] and len({pid for _, pid in came}) == 2
    assert said == ["An actor died, its jobs are done again: vLLM's process has died"]


def test_another_release_in_an_actor_is_one_line(made, tmp_path):
    recipe, what = made()
    with pytest.raises(WorkerError, match=r"has hornbeam .*, the driver 0\.0\.0: install the same"):
        Actor(recipe, what.base, {}, "0.0.0")


@here
@pytest.mark.timeout(600)
def test_an_actor_that_dies_at_every_try_ends_the_work_in_one_line(cluster):
    class Deadly:
        async def work(self, job):
            os._exit(1)

    said = []
    with pytest.raises(WorkerError, match="3 actors died at one job") as error:
        done_by(RayActors(Cluster(growers=1), Deadly, said.append), [1], 1)
    assert "\n" not in str(error.value) and len(said) == 3


@here
def test_a_death_is_counted_once_however_many_wait_for_work(cluster, tmp_path):
    class Mortal:
        async def work(self, job):
            if job == 3:
                await asyncio.sleep(0.5)  # the others are done and wait
            if job == 3 and not (tmp_path / "died").exists():
                (tmp_path / "died").touch()
                os._exit(1)
            return job

    said = []
    came = done_by(RayActors(Cluster(growers=1), Mortal, said.append), range(4), 4)
    assert sorted(came) == [0, 1, 2, 3] and len(said) == 1


def test_the_manifest_has_the_shape_of_a_ray_cluster():
    docs = Path(__file__).parents[2] / "docs"
    made = yaml.safe_load((docs / "kuberay.yaml").read_text())
    assert (made["apiVersion"], made["kind"]) == ("ray.io/v1", "RayCluster")
    spec = made["spec"]
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    assert f"ray=={spec['rayVersion']}\n" in (docs.parent / "constraints.txt").read_text()
    images = set()
    for group in groups:
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        images.add(container["image"])
        mounts = {mount["name"] for mount in container["volumeMounts"]}
        assert mounts == {volume["name"] for volume in pod["volumes"]}
        assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    (workers,) = spec["workerGroupSpecs"]
    assert workers["minReplicas"] <= workers["replicas"] <= workers["maxReplicas"]
    assert workers["groupName"] and len(images) == 1


HEARS = """
import json

class Lines:
    def __init__(self, path):
        self.path = path

    def tree(self, key, tree, calls):
        with open(self.path, "a") as stream:
            tools = sum(call.kind == "tool" for call in calls)
            stream.write(json.dumps([str(key), len(calls), tools]) + "\\n")
"""


@here
def test_the_driver_tells_sinks_of_the_trees_of_actors(cluster, made, tmp_path):
    (tmp_path / "mine.py").write_text(HEARS)
    path = tmp_path / "heard"
    sets = ["sinks.mine.use=mine.py:Lines", f'sinks.mine.path="{path}"', "run.steps=1"]
    said, trees, costs, _ = go(made(*sets, *RAY), tmp_path / "run")
    assert "sink mine" not in said
    told = {key: (calls, tools) for key, calls, tools in map(json.loads, path.open())}
    assert {*told} == {*trees}
    assert sum(tools for _, tools in told.values()) == costs["tool_calls"]
    assert sum(calls - tools for calls, tools in told.values()) == costs["model_calls"]
