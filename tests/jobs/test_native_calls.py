"""Runs by native tool calls: a template of the recipe's, kept in the weights, held on resume."""

import asyncio
import json
from pathlib import Path

import pytest

from hornbeam.assembly.plan import plan
from hornbeam.assembly.progress import Progress
from hornbeam.chat.ready_templates import template_text
from hornbeam.errors import RecipeError, StoreError
from hornbeam.jobs.train.training import Run
from hornbeam.recipe.recipe import load_recipe

RECIPE = Path(__file__).parents[2] / "recipes" / "tools_tiny.toml"
SMALL = ["run.tasks=2", "run.eval_every=0", "run.eval_start=false", "tasks.eval.0.count=2"]
SMALL += ["sft.count=16", "sft.epochs=1"]


def train(out, *sets):
    recipe = load_recipe(RECIPE, [*SMALL, *sets])
    asyncio.run(Run(recipe, plan(recipe, RECIPE.parent), out, Progress()).go())
    return [json.loads(row) for row in (out / "metrics.jsonl").read_text("utf-8").splitlines()]


def test_a_template_of_the_recipe_is_saved_with_the_weights_and_held(tmp_path, hornbeam):
    own = tmp_path / "own.jinja"
    own.write_text(template_text("tiny"), "utf-8")
    name = f"model.chat_template={json.dumps(str(own))}"
    out = tmp_path / "run"
    train(out, "run.steps=1", name)
    saved = [out / "final" / "chat_template.jinja", out / "final" / "tokenizer_config.json"]
    texts = [path.read_text("utf-8") for path in saved if path.is_file()]
    assert any("tool_call" in text for text in texts)
    # the weights alone: their own template has the tools now
    bare = ["--set", 'model.chat_template=""', "--model", str(out / "final")]
    code, err, _ = hornbeam("eval", RECIPE, *bare, "--set", "tasks.eval.0.count=2")
    assert code == 0, err
    own.write_text(template_text("tiny") + "{# changed #}", "utf-8")
    with pytest.raises(StoreError, match=r"other text of model\.chat_template than .*own\.jinja"):
        train(out, "run.steps=2", name)


def test_a_template_without_tools_is_told_before_anything_grows(tmp_path):
    with pytest.raises(RecipeError) as told:
        train(tmp_path / "run", "run.steps=1", 'model.chat_template=""', "sft.count=1", "sft={}")
    line = str(told.value)
    assert "the chat template leaves out the tools (lookup)" in line and "\n" not in line
    assert 'model.chat_template gives it another ("hermes", "tiny", or a .jinja file)' in line
