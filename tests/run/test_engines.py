"""Recipes with other engines: a server's model is searched with and not trained."""

import asyncio

import pytest

from hornbeam import tiny
from hornbeam.errors import RecipeError
from hornbeam.run import Run, load_recipe, plan
from hornbeam.run.engines import engine_settings
from hornbeam.run.evaluate import evaluate
from hornbeam.run.judges import judge_engine
from little_server import LittleServer

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


@pytest.fixture
def made(tmp_path):
    """Makes (recipe, plan) of a tiny model with changes."""
    tiny.make(tmp_path / "model", seed=3, width=32)
    (tmp_path / "doors.toml").write_text(RECIPE.replace("MODEL", str(tmp_path / "model")))

    def make(*sets):
        recipe = load_recipe(tmp_path / "doors.toml", sets)
        return recipe, plan(recipe, tmp_path)

    return make


def test_a_server_answers_for_the_agents_as_its_model_does_here(made, tmp_path):
    trees, told = asyncio.run(evaluate(*made(), None))
    with LittleServer(judge_engine(tmp_path / "model")) as server:
        sets = ("engine.kind=http", f"engine.url={server.url}", "engine.model=tiny")
        served, again = asyncio.run(evaluate(*made(*sets), None))
        assert len(server.seen) > 6
    assert [[node.tokens for node in tree.nodes] for tree in served] == [
        [node.tokens for node in tree.nodes] for tree in trees
    ]
    assert again["accuracy"] == told["accuracy"] and again["count"] == told["count"] == 6


@pytest.mark.parametrize(
    ("sets", "told"),
    [
        (["engine.kind=http", "engine.url=http://127.0.0.1:9/v1"], "for search, label and eval"),
        (["engine.kind=vllm", "run.resume=exact"], 'wants engine.kind = "local"'),
    ],
)
def test_what_an_engine_cannot_do_is_one_line(made, tmp_path, sets, told):
    with pytest.raises(RecipeError, match=told):
        Run(*made(*sets), tmp_path / "run", Silent())


@pytest.mark.parametrize(
    ("sets", "told"),
    [
        (["engine.max_bach=3"], "did you mean 'max_batch'"),
        (["engine.kind=vlm"], "did you mean 'vllm'"),
    ],
)
def test_a_typo_is_one_line(made, sets, told):
    with pytest.raises(RecipeError, match=told):
        made(*sets)


def test_settings_go_to_the_kind_that_is_named(made):
    recipe, _ = made("engine.kind=vllm", "engine.dtype=float32", "engine.max_batch=7")
    assert engine_settings(recipe.engine).max_batch == 7
    assert engine_settings(recipe.engine).dtype == "float32"
    kept = recipe.model_validate(made("engine.kind=vllm")[0].model_dump())
    assert engine_settings(kept.engine).max_batch == 256  # its own default
    with pytest.raises(RecipeError, match=r"has no setting 'dtipe': did you mean 'dtype'"):
        engine_settings(made("engine.kind=vllm", "engine.dtipe=float32")[0].engine)
