"""Every recipe of the house runs end to end for two steps, with a tiny model and made tasks."""

import asyncio
import json
from pathlib import Path

import pytest

from hornbeam.run import Run, Watch, load_recipe, plan

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))
SMALL = [
    "model.name=tiny",
    "run.steps=2",
    "run.tasks=2",
    "run.eval_every=1",
    "tasks.eval.0.count=3",
    "sft.count=16",
    "sft.epochs=1",
]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_runs_two_steps_and_leaves_what_it_promises(path, tmp_path, monkeypatch):
    from transformers import AutoModelForCausalLM

    monkeypatch.delenv("HORNBEAM_DATA", raising=False)  # the generators that recipes fall back on
    recipe = load_recipe(path, SMALL)
    out = tmp_path / "run"
    page = asyncio.run(Run(recipe, plan(recipe, path.parent), out, Watch()).go())

    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    trained = [row for row in rows if row["kind"] == "train"]
    assert [row["step"] for row in trained] == [0, 1]
    for row in trained:
        assert row["leaves"] == 2 * plan(recipe, path.parent).strategy.leaves()
        assert row["failed"] == 0 and row["no_verdict"] == 0
        assert row["sampled_tokens"] > 0 and row["prompt_tokens_computed"] > 0
    looks = [row["stage"] for row in rows if row["kind"] == "eval"]
    assert looks == ["start", "warm start", "train", "final"]
    assert all(row["count"] == 3 for row in rows if row["kind"] == "eval")
    assert page == out / "report.html" and page.stat().st_size > 10_000
    model = AutoModelForCausalLM.from_pretrained(out / "final")
    assert all(weight.isfinite().all() for weight in model.parameters())


def test_there_are_recipes():
    assert {path.stem for path in RECIPES} >= {"calculator", "tiny"}
