"""Recipes with other engines: a server's model is searched with and not trained."""

import asyncio
import json
from types import SimpleNamespace

import pytest

from hornbeam.assembly.engines import engine_settings
from hornbeam.assembly.judges import judge_engine
from hornbeam.assembly.plan import plan
from hornbeam.assembly.policies import Policies
from hornbeam.chat import TemplateChat
from hornbeam.engine.local.local_engine import LocalEngine
from hornbeam.engine.remote.completions import HttpEngine
from hornbeam.engine.remote.http_client import HttpSettings
from hornbeam.errors import EngineLost, RecipeError
from hornbeam.jobs.eval.evaluate import evaluate
from hornbeam.jobs.search.run_search import Search
from hornbeam.jobs.train.training import Run
from hornbeam.models import tiny_model
from hornbeam.recipe.recipe import load_recipe
from hornbeam.store.database import Store
from hornbeam.train import weights
from little_server import LittleServer, Manners

from .doors import Silent

RECIPE = """
model = {name = "MODEL"}
agents = {seeker = {max_tokens = 4}}
program = {name = "lookup"}
tools = {lookup = {}}
reward = {rule = "exact"}
[[tasks.train]]
source = "lookup"
count = 4
options = {depth = 2}
[[tasks.eval]]
source = "lookup"
split = "test"
count = 6
options = {depth = 2}
"""

SERVER = ("engine.kind=vllm_server", "engine.url=http://127.0.0.1:9/v1")


@pytest.fixture
def made(tmp_path):
    """Makes (recipe, plan) of a tiny model with changes."""
    tiny_model.make(tmp_path / "model", seed=3, width=32)
    (tmp_path / "doors.toml").write_text(RECIPE.replace("MODEL", str(tmp_path / "model")))

    def make(*sets):
        recipe = load_recipe(tmp_path / "doors.toml", sets)
        return recipe, plan(recipe, tmp_path)

    return make


def test_a_server_answers_for_the_agents_as_its_model_does_here(made, tmp_path, capsys):
    trees, result = asyncio.run(evaluate(*made(), None))
    with LittleServer(judge_engine(tmp_path / "model")) as server:
        sets = ("engine.kind=http", f"engine.url={server.url}", "engine.model=tiny")
        sets += ("engine.prompt_price=2", "engine.sampled_price=8")
        served, again = asyncio.run(evaluate(*made(*sets), None))
        assert len(server.seen) > 6
    assert [[node.tokens for node in tree.nodes] for tree in served] == [
        [node.tokens for node in tree.nodes] for tree in trees
    ]
    assert again["accuracy"] == result["accuracy"] and again["count"] == result["count"] == 6
    assert "servers" not in result
    asked = again["servers"][server.url]
    assert asked["requests"] > asked["retries"] == 0 and asked["cost"] == pytest.approx(
        (2 * asked["prompt_tokens"] + 8 * asked["sampled_tokens"]) / 1e6
    )
    assert asked["sampled_tokens"] > again["costs"]["sampled_tokens"]  # the probe's too
    assert f"{server.url}: {asked['requests']} requests" in capsys.readouterr().err


@pytest.fixture
def server(tmp_path):
    """A server whose weights can change, and are others than the recipe's."""
    model, tokenizer = weights.load(tiny_model.make(tmp_path / "other", seed=4, width=32))
    engine = LocalEngine(model.eval(), TemplateChat(tokenizer))
    with LittleServer(engine, model, Manners(scale="cut", updates=True)) as little:
        yield little


def served(server, *sets):
    return (
        *("engine.kind=vllm_server", f"engine.url={server.url}", "engine.model=tiny"),
        *("engine.dtype=float32", *sets),
    )


def test_a_server_is_measured_with_the_weights_that_are_meant(made, tmp_path, server):
    trees, _ = asyncio.run(evaluate(*made(), None))
    there, _ = asyncio.run(evaluate(*made(*served(server)), None))
    assert [[node.tokens for node in tree.nodes] for tree in there] == [
        [node.tokens for node in tree.nodes] for tree in trees
    ]
    assert server.label.endswith("/0")


def test_a_search_whose_server_goes_away_stops_and_goes_on(made, tmp_path):
    methods = [{"name": "vote", "n": 3, "choose": "majority"}]

    def search(folder, server, *sets):
        how = ("engine.kind=http", f"engine.url={server.url}", "engine.model=tiny", *sets)
        recipe, what = made(*how)
        data = {**recipe.model_dump(), "search": {"methods": methods}, "run": {"at_once": 2}}
        return Search(type(recipe).model_validate(data), what, tmp_path / folder, Silent())

    async def left_alone(server):
        work = asyncio.create_task(search("search", server, "engine.patience=0.3").go())
        try:
            while len(server.seen) < 16:  # some of them the probe's
                await asyncio.sleep(0)
                assert not work.done()
        finally:
            server.stop()
        await work

    server = LittleServer(judge_engine(tmp_path / "model")).start()
    whole, _ = asyncio.run(search("whole", server).go())
    server.seen.clear()
    with pytest.raises(EngineLost, match=r"patience = 0\.3 s: see that the server is up"):
        asyncio.run(left_alone(server))
    with Store(tmp_path / "search", read_only=True) as store:
        assert not any(n.error for key in store.keys(None) for n in store.read(key).tree.nodes)
    with server:
        again, _ = asyncio.run(search("search", server, "engine.patience=0.3").go())
    rows = [result["methods"][0]["points"][0] for result in (whole, again)]
    assert rows[0]["right"] == rows[1]["right"] and rows[1]["failed"] == 0
    assert rows[0]["policy_tokens"] == rows[1]["policy_tokens"]


THREE = ("run.steps=3", "run.tasks=4", "grow.n=4", "optim.lr=3e-3", "run.eval_start=false")
THREE += ("loss.entropy=0.1", "run.checkpoint_every=1")


@pytest.mark.parametrize("restarts", [False, True])
def test_a_run_trains_on_what_its_server_says(made, tmp_path, server, restarts):
    def run():
        return Run(*made(*served(server, *THREE)), tmp_path / "run", Silent())

    async def restarted():
        """A run whose server is started again, with its first weights, as step 2 grows."""
        work = asyncio.create_task(run().go())
        while not (server.label.endswith("/1") and server.seen):
            server.seen.clear()
            await asyncio.sleep(0)
            assert not work.done()
        server.label = "default"
        return await work

    if restarts:
        with pytest.raises(EngineLost, match=r"has other weights than version 1 .*goes on$"):
            asyncio.run(restarted())
    asyncio.run(run().go())
    rows = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    rows = [row for row in rows if row["kind"] == "train"]
    assert [row["updates"] for row in rows] == [1, 1, 1]
    assert all(row["engine_gap"] < 1e-4 for row in rows)
    assert server.label.endswith("/3")
    with Store(tmp_path / "run", read_only=True) as store:
        for key in store.keys("train"):
            tree = store.read(key).tree
            assert {node.origin.version for node in tree.nodes[1:]} == {key.step}


def test_what_several_policies_ask_of_a_server_is_one_bill():
    how = HttpSettings(url="http://127.0.0.1:9/v1", sampled_price=1e6)
    policies = Policies.__new__(Policies)
    chat = TemplateChat(tiny_model.tokenizer(), "tiny")
    policies.members = [SimpleNamespace(engine=HttpEngine(how, chat)) for _ in range(2)]
    for n, member in enumerate(policies):
        member.engine.account.sampled_tokens = 2 + n
    bill = policies.served["servers"]["http://127.0.0.1:9/v1"]
    assert (bill["sampled_tokens"], bill["cost"]) == (5, 5)


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["engine.kind=http", "engine.url=http://127.0.0.1:9/v1"], "for search, label and eval"),
        (["engine.kind=vllm", "run.resume=exact"], 'needs engine.kind = "local"'),
        ([*SERVER, "workers.kind=ray"], "would all update the one server"),
        (
            [*SERVER, "policies={a={},b={}}", "agents.seeker.policy=a", "agents.x.policy=b"],
            "cannot serve a, b",
        ),
    ],
)
def test_what_an_engine_cannot_do_is_one_line(made, tmp_path, sets, message):
    with pytest.raises(RecipeError, match=message):
        Run(*made(*sets), tmp_path / "run", Silent())


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["engine.max_bach=3"], "did you mean 'max_batch'"),
        (["engine.kind=vlm"], "did you mean 'vllm'"),
        (["engine.weights=int4"], r"\[engine\] weights = \"int4\": expected .*'int8'\?"),
        (["engine.kind=vllm_server"], "engine 'vllm_server' needs a setting 'url'"),
    ],
)
def test_a_typo_is_one_line(made, sets, message):
    with pytest.raises(RecipeError, match=message):
        made(*sets)


def test_settings_go_to_the_kind_that_is_named(made):
    recipe, _ = made("engine.kind=vllm", "engine.dtype=float32", "engine.max_batch=7")
    assert engine_settings(recipe.engine).max_batch == 7
    assert engine_settings(recipe.engine).dtype == "float32"
    kept = recipe.model_validate(made("engine.kind=vllm")[0].model_dump())
    assert engine_settings(kept.engine).max_batch == 256  # its own default
    with pytest.raises(RecipeError, match="'vllm' has no setting 'weights'"):
        engine_settings(made("engine.kind=vllm", "engine.weights=int8")[0].engine)
    assert engine_settings(made("engine.weights=int8")[0].engine).weights == "int8"
    with pytest.raises(RecipeError, match=r"has no setting 'dtipe': did you mean 'dtype'"):
        engine_settings(made("engine.kind=vllm", "engine.dtipe=float32")[0].engine)
