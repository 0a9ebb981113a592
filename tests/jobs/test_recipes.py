"""Recipes of the house: those that train run end to end for two steps, with a tiny model and made
tasks; those that search make their points, programs and label searches.
"""

import asyncio
import json
import re
import tomllib
from pathlib import Path

import pytest

from hornbeam.assembly.guides import TAKES, check_guide
from hornbeam.assembly.plan import plan
from hornbeam.assembly.progress import Progress
from hornbeam.jobs.label.run_label import Label
from hornbeam.jobs.search.search_jobs import jobs
from hornbeam.jobs.train.training import Run
from hornbeam.programs.presets import PRESETS
from hornbeam.recipe.recipe import Recipe, load_recipe
from hornbeam.search import Rollouts, strategies
from hornbeam.search.choose import choosers
from hornbeam.tasks.lookup_world import lookup_tasks
from hornbeam.train.train_settings import FitSettings
from hornbeam.tree.jsonl import write_trees

from .doors import walks

SHARDED = ("tree_7b_8", "anchor_32b")  # for several GPUs: in test_gpu_recipes
FOLDER = Path(__file__).parents[2] / "recipes"
RECIPES = sorted(path for path in FOLDER.glob("*.toml") if path.stem not in SHARDED)
LOADED = {path: load_recipe(path) for path in RECIPES}
JUDGES = [path for path, recipe in LOADED.items() if recipe.program.name == "judge"]
AGENTS = [path for path, recipe in LOADED.items() if recipe.program.name == "agent"]
ANCHORED = [path for path, recipe in LOADED.items() if recipe.anchor]  # in test_anchors
TRAINED = [
    p for p, r in LOADED.items() if (r.run.steps or r.sft) and p not in JUDGES + ANCHORED + AGENTS
]
SEARCHED = [path for path, recipe in LOADED.items() if recipe.search.methods]
SMALL = [
    "model.name=tiny",
    "run.steps=2",
    "run.tasks=2",
    "run.eval_every=1",
    "tasks.eval.0.count=3",
    "sft.count=16",
    "sft.epochs=1",
]


@pytest.mark.parametrize("path", TRAINED, ids=lambda path: path.stem)
def test_a_recipe_runs_two_steps_and_leaves_what_it_promises(path, tmp_path, monkeypatch):
    from transformers import AutoModelForCausalLM

    monkeypatch.delenv("HORNBEAM_DATA", raising=False)  # the generators that recipes fall back on
    gpu = LOADED[path].run.device == "cuda"
    cpu = ["run.device=cpu", "optim.bf16=false", "agents.solver.max_tokens=8", "engine={}"]
    small = [s for s in SMALL if LOADED[path].sft or not s.startswith("sft.")]
    small += ["model.chat_template=tiny"] * bool(LOADED[path].model.chat_template)
    recipe = load_recipe(path, [*small, *(cpu if gpu else [])])
    out = tmp_path / "run"
    page = asyncio.run(Run(recipe, plan(recipe, path.parent), out, Progress()).go())

    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    trained = [row for row in rows if row["kind"] == "train"]
    assert [row["step"] for row in trained] == [0, 1]
    for row in trained:
        assert row["leaves"] == 2 * plan(recipe, path.parent).strategy.leaves()
        assert row["failed"] == 0 and row["no_verdict"] == 0
        assert row["sampled_tokens"] > 0 and row["prompt_tokens_computed"] > 0
    looks = [row["stage"] for row in rows if row["kind"] == "eval"]
    warm = ["warm start"] * bool(recipe.sft)
    assert looks == [*(["start"] * recipe.run.eval_start), *warm, "train", "final"]
    assert all(row["count"] == 3 for row in rows if row["kind"] == "eval")
    assert page == out / "report.html" and page.stat().st_size > 10_000
    for name in recipe.names:
        model = AutoModelForCausalLM.from_pretrained(out / "final" / name)
        assert all(weight.isfinite().all() for weight in model.parameters())


@pytest.mark.parametrize("path", JUDGES, ids=lambda path: path.stem)
def test_a_judge_is_trained_on_labelled_steps(path, tmp_path):
    labels = tmp_path / "labels.jsonl"
    write_trees(walks(lookup_tasks("train", 60)), labels)
    paths = [f"tasks.{part}.0.path={labels}" for part in ("train", "eval")]
    cpu = ["run.device=cpu", "optim.bf16=false", "agents.judge.max_tokens=8", "engine={}"]
    small = [s for s in SMALL if LOADED[path].sft or not s.startswith("sft.")]
    recipe = load_recipe(path, [*small, *paths, *cpu, "grow.n=4"])
    asyncio.run(Run(recipe, plan(recipe, path.parent), tmp_path / "run", Progress()).go())
    rows = [json.loads(r) for r in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    trained = [row for row in rows if row["kind"] == "train"]
    assert [row["leaves"] for row in trained] == [8, 8] and not any(r["failed"] for r in trained)


@pytest.mark.parametrize("path", SEARCHED, ids=lambda path: path.stem)
def test_a_recipe_that_searches_makes_its_points_and_programs(path, tmp_path, monkeypatch):
    monkeypatch.delenv("HORNBEAM_DATA", raising=False)
    recipe = LOADED[path]
    made = plan(recipe, path.parent)
    assert made.eval.tasks and len(made.train.tasks) > recipe.label.skip
    assert recipe.sft is None or made.demonstration is not None
    points = jobs(recipe)
    names = [(job.method.name, job.label) for job in points]
    assert len(set(names)) == len(names)
    assert {name for name, _ in names} >= {"greedy", "single pass", "majority", "beam"} or (
        "masprm" in path.stem
    )
    for column, choice in recipe.guides.items():
        check_guide(column, choice, recipe)
        assert any(column in job.reads for job in points), column
    sets = ["model.name=tiny", "run.device=cpu"]
    search = Label(load_recipe(path, sets), made, tmp_path / "labels", Progress())
    assert isinstance(search.strategy, Rollouts) or search.strategy.rollout
    asyncio.run(search.folder_grower.aclose())


@pytest.mark.parametrize("path", SEARCHED, ids=lambda path: path.stem)
def test_the_head_of_a_recipe_that_searches_names_its_commands(path):
    text = path.read_text(encoding="utf-8")
    assert 60 <= len(text.splitlines()) <= 200
    recipe = LOADED[path]
    fits = any(choice.kind in ("prm", "orm") for choice in recipe.guides.values())
    for command in ("label", "search", *["fit"] * fits, *["train"] * bool(recipe.sft)):
        assert f"#   hornbeam {command} {path.stem} " in text
    for choice in recipe.guides.values():
        model = choice.rest().get("model", "").removesuffix("/final")
        assert not model or f"--out {model}" in text.split("[run]")[0], model


def test_the_team_of_the_paper_at_its_size_and_with_a_small_model():
    large, small = (LOADED[path] for path in SEARCHED if "masprm" in path.stem)
    large, small = (large, small) if large.model.name.startswith("Qwen") else (small, large)
    for recipe, preset in ((large, "math"), (small, "arithmetic")):
        assert recipe.program.rest() == {"preset": preset}
        team = [agent["name"] for agent in PRESETS[preset]["agents"]]
        assert list(recipe.agents) == team == ["reader", "planner", "solver", "verifier"]
        reads = {job.method.name: job.reads for job in jobs(recipe)}
        assert reads["beam, PRM and ORM"] == reads["MCTS, PRM and ORM"] == ("value", "orm")
        assert reads["best of n, ORM"] == ("orm",) and reads["greedy"] == ()
    row = {**large.label.rest(), "most": large.label.most}
    assert row == {"simulations": 64, "children": 4, "c": 8.0, "patience": 24, "most": 0.7}
    assert {(a.temperature, a.top_p) for a in large.agents.values()} == {(0.7, 0.95)}
    assert large.lora is not None and large.optim.bf16 and large.run.device == "cuda"


def test_the_page_on_search_holds():
    text = (Path(__file__).parents[2] / "docs" / "search.md").read_text(encoding="utf-8")
    result = tomllib.loads((RECIPES[0].parent / "search_tiny.toml").read_text(encoding="utf-8"))
    for block in re.findall(r"```toml\n(.*?)```", text, re.DOTALL):
        result |= tomllib.loads(block)
    made = jobs(Recipe.model_validate(result))
    assert [job.label for job in made][-2:] == ["beams=1, width=5", "beams=3, width=5"]
    rows = dict(re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|", text, re.MULTILINE))
    assert set(strategies) - {"branch"} <= set(rows)
    for name in set(strategies) & set(rows):
        assert set(re.findall(r"`(\w+)`", rows[name])) <= set(strategies[name].model_fields), name
    assert {name for name in choosers if f"`{name.removeprefix('mean_')}`" not in text} == set()
    assert {kind for kind in TAKES if f"`{kind}`" not in text} == set()
    assert {name for name in FitSettings.model_fields if name in result["fit"]} == set(
        result["fit"]
    )


def test_there_are_recipes():
    assert {path.stem for path in RECIPES} >= {"calculator", "tiny", "masprm", "masprm_7b"}
