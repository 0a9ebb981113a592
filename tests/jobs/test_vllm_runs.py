"""`hornbeam train` and `search` with vLLM for real: in processes of ours, in actors, as a server.

Skipped where vLLM is not installed (.ci/vllm installs it).
"""

import asyncio
import importlib.util
import json
import os
import sys

import pytest

from hornbeam.assembly.plan import plan
from hornbeam.jobs.search.run_search import Search
from hornbeam.jobs.train.training import Run
from hornbeam.models import tiny_model
from hornbeam.recipe.recipe import load_recipe
from hornbeam.store.database import Store
from serving import serving

from .doors import Silent

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("vllm") is None, reason="vLLM is not installed: run .ci/vllm"
    ),
    pytest.mark.filterwarnings("ignore"),  # vLLM's own, and those of what it imports
    pytest.mark.timeout(1200),
]
RECIPE = """
run = {steps = 3, tasks = 4, eval_every = 3, eval_start = false, checkpoint_every = 1}
model = {name = "MODEL"}
agents = {seeker = {max_tokens = 4}}
program = {name = "lookup"}
tools = {lookup = {}}
reward = {rule = "exact"}
grow = {strategy = "branch", trunks = 2, nodes = 2, rounds = 1}
loss = {old = "trainer", truncate = 2.0, entropy = 0.1}
optim = {lr = 3e-3}
sft = {count = 24, epochs = 12, lr = 5e-3, batch_size = 8}
[[tasks.train]]
source = "lookup"
count = 24
options = {depth = 2}
[[tasks.eval]]
source = "lookup"
split = "test"
count = 4
options = {depth = 2}
"""
SMALL = ("dtype=float32", "cache_gib=0.125", "context=256", "max_batch=16")
OURS = ("engine.kind=vllm", *(f"engine.{one}" for one in SMALL))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny model with heads that vLLM knows."""
    return tiny_model.make(tmp_path_factory.mktemp("made") / "model", width=128, heads=4)


def made(model, folder, *sets):
    (folder / "doors.toml").write_text(RECIPE.replace("MODEL", str(model)))
    recipe = load_recipe(folder / "doors.toml", sets)
    return recipe, plan(recipe, folder)


def go(model, folder, *sets):
    """(rows of training, trees by key) of a run that ended."""
    asyncio.run(Run(*made(model, folder, *sets), folder / "run", Silent()).go())
    rows = map(json.loads, (folder / "run" / "metrics.jsonl").read_text().splitlines())
    with Store(folder / "run", read_only=True) as store:
        trees = {key: store.read(key) for key in store.keys("train")}
    return [row for row in rows if row["kind"] == "train"], trees


def checked(rows, trees, gap, behind=0):
    """Every tree once, and vLLM's log-probs those of the trainer, whatever the version."""
    assert len(rows) == 3 and len(trees) == 12 and all(one.done for one in trees.values())
    first = min(n.origin.version for one in trees.values() for n in one.tree.nodes[1:])
    trained = [int(sum(row["updates"] for row in rows[:step])) for step in range(3)]
    assert trained[-1] > 0
    for key, one in trees.items():
        spoken = {n.origin.version - first for n in one.tree.nodes[1:]}
        assert trained[max(0, key.step - behind)] <= min(spoken)
        assert max(spoken) <= trained[key.step]
    if not behind:
        assert all(row["engine_gap"] < gap for row in rows), [row["engine_gap"] for row in rows]


@pytest.mark.parametrize(
    ("sets", "gap", "behind"),
    [
        ([], 1e-4, 0),
        (["lora.rank=8"], 1e-4, 0),
        (["lora.rank=8", "engine.lora_rank=8"], 1e-3, 0),
        (["run.behind=1"], 0, 1),
    ],
    ids=["whole", "merged", "adapters", "ahead"],
)
def test_a_run_trains_on_what_vllm_says(model, tmp_path, sets, gap, behind):
    checked(*go(model, tmp_path, *OURS, *sets), gap, behind)


def test_actors_with_vllm_of_their_own_speak_with_what_is_sent(model, tmp_path):
    pytest.importorskip("ray")
    checked(*go(model, tmp_path, *OURS, "workers.kind=ray", "workers.growers=2"), 1e-4)


@pytest.fixture
def server(model):
    """The address of a `hornbeam serve`."""
    command = [sys.executable, "-m", "hornbeam.cli.main", "serve", str(model)]
    command += [word for one in SMALL for word in ("--set", one)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    with serving(lambda port: [*command, "--port", str(port)], env) as url:
        yield f"{url}/v1"


def test_a_server_learns_what_is_trained_and_others_search_with_it(model, server, tmp_path):
    (tmp_path / "train").mkdir()
    sets = ("engine.kind=vllm_server", f"engine.url={server}", "engine.dtype=float32")
    checked(*go(model, tmp_path / "train", *sets), 1e-4)
    how = ("engine.kind=http", f"engine.url={server}")
    data, what = made(model, tmp_path, *how)
    methods = [
        {"name": "single", "n": 1},
        {"name": "vote", "n": 4, "choose": "majority"},
    ]
    data = type(data).model_validate({**data.model_dump(), "search": {"methods": methods}})
    result, page = asyncio.run(Search(data, what, tmp_path / "search", Silent()).go("search"))
    assert [one["name"] for one in result["methods"]] == ["single", "vote"]
    assert result["methods"][1]["points"][0]["policy_tokens"] > 0 and page.is_file()
    assert result["servers"][server]["requests"] >= 4 * 4
