"""Recipes for GPUs, and those beside them on a CPU: what their heads say holds."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from hornbeam.assembly.plan import plan
from hornbeam.credit import method
from hornbeam.errors import RecipeError
from hornbeam.jobs.train.estimates import run_estimate
from hornbeam.programs import make_program
from hornbeam.recipe.recipe import Recipe, load_recipe
from hornbeam.recipe.toml import override, parse, read_toml
from hornbeam.search import strategy
from hornbeam.tasks.hops import hop_tasks

RECIPES = Path(__file__).parents[2] / "recipes"
GPUS = {"tree_7b": 1, "tree_7b_8": 8, "anchor_32b": 64}


def head(name):
    return (RECIPES / f"{name}.toml").read_text(encoding="utf-8").split("[run]")[0]


def without_engines(name, *sets):
    """A recipe without what it says of engines and workers, which may be extras."""
    data = read_toml(RECIPES / f"{name}.toml")
    kept = {k: v for k, v in data.items() if k not in ("engine", "workers")}
    return parse(Recipe, override(kept, sets), name), data


@pytest.mark.parametrize("name", GPUS)
def test_a_recipe_for_gpus_computes_as_gpus_do(name, monkeypatch):
    monkeypatch.delenv("HORNBEAM_DATA", raising=False)
    recipe, data = without_engines(name, "tasks.train.0.count=40", "tasks.eval.0.count=10")
    assert recipe.run.device == "cuda" and recipe.optim.bf16 and recipe.optim.checkpointing
    assert recipe.optim.attention == "auto" and recipe.optim.packed
    assert (recipe.lora is not None) == (GPUS[name] == 1)
    assert data["engine"].get("kind", "local") == ("local" if GPUS[name] == 1 else "vllm")
    assert (data.get("workers") == {"kind": "ray"}) == (GPUS[name] == 64)
    if data["tasks"]["train"][0]["source"] != "hub":
        assert plan(recipe, RECIPES).strategy.leaves() in (6, 8)


@pytest.mark.parametrize("name", GPUS)
def test_a_recipe_for_gpus_loads_whole(name):
    try:
        recipe = load_recipe(RECIPES / f"{name}.toml")
    except RecipeError as error:
        if re.search(r"no key '(kind|workers|cache_gib)'", str(error)):
            pytest.skip(f"this build has local engines and workers alone: {error}")
        raise
    assert recipe.run.device == "cuda"


@pytest.mark.parametrize("name", GPUS)
def test_the_arithmetic_in_a_head_is_what_a_dry_run_prints(name):
    recipe, data = without_engines(name)
    engine = SimpleNamespace(**{"max_batch": 256} | data["engine"])
    recipe = recipe.model_copy(update={"engine": engine})
    (result,) = re.findall(
        rf"hornbeam train {name} --dry-run --gpu (\w+) --gpus (\d+) --episode (\d+)", head(name)
    )
    grown = strategy(recipe.grow.strategy, **recipe.grow.rest())
    lines = list(run_estimate._machines(recipe, grown, result[0], int(result[1]), int(result[2])))
    assert int(result[1]) == GPUS[name] and not any("NOT FIT" in line for line in lines)
    printed = {line[:30].strip(): line[30:].strip() for line in lines if line[:2] == "  "}
    figures = dict(re.findall(r"#     (.+?): +([\d.]+)", head(name)))
    assert set(figures) >= {"at most at a time", "growing", "training"}
    assert {row: printed[row] for row in figures} == figures
    (trained,) = [
        re.search(r"trains at most ([\d,]+) tokens", x)[1] for x in lines if "trains" in x
    ]
    assert f"a step of {trained} tokens" in head(name)


def test_word_problems_against_anchors_on_a_cpu(monkeypatch):
    monkeypatch.delenv("HORNBEAM_DATA", raising=False)
    recipe = load_recipe(RECIPES / "math_anchors.toml")
    made = plan(recipe, RECIPES)
    assert made.credit.anchored and len(made.train.tasks) == 400
    commands = re.findall(r"#   hornbeam (.+)", head("math_anchors"))
    assert [c.split()[:2] for c in commands] == [
        ["train", "math_anchors"], ["anchor", "math_anchors"], *[["train", "math_anchors"]] * 3,
    ]  # fmt: skip
    assert commands[0].endswith(recipe.anchor.model.removesuffix("/final"))
    for name in re.findall(r"credit.method=(\w+)", head("math_anchors")):
        assert method(name)


def test_one_agent_searches_where_a_team_delegates(monkeypatch):
    monkeypatch.delenv("HORNBEAM_DATA", raising=False)
    one, team = (load_recipe(RECIPES / f"multihop{tail}.toml") for tail in ("_single", ""))
    same = ("tasks", "tools", "sft", "optim", "loss", "limits")
    assert {k: getattr(one, k) for k in same} == {k: getattr(team, k) for k in same}
    assert (one.run.steps, one.run.tasks) == (team.run.steps, team.run.tasks)
    _, show = make_program("react", one.program.rest(), RECIPES)
    task = hop_tasks(count=1)[0]
    turns = show(task)
    steps = [step for together in task.data["plan"] for step in together]
    assert [turn.text for turn in turns] == [
        *(f"SEARCH[{step['query']}]" for step in steps), f"Answer[{task.answer}]",
    ]  # fmt: skip
    heard = [message["content"] for message in turns[-1].messages if message["role"] == "user"]
    assert heard[1:] == [step["found"] for step in steps]
