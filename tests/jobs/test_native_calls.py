"""Runs by native tool calls: a template of the recipe's, kept in the weights, held on resume."""

import asyncio
import json
from pathlib import Path

import pytest

import hornbeam as hb
from hornbeam.assembly.examples import examples
from hornbeam.assembly.plan import plan
from hornbeam.assembly.progress import Progress
from hornbeam.assembly.sft_set import read_set, set_line
from hornbeam.assembly.transcript import transcript
from hornbeam.chat import TemplateChat
from hornbeam.chat.ready_templates import template_text, with_template
from hornbeam.episode.program import Limits
from hornbeam.errors import ModelError, RecipeError, StoreError
from hornbeam.jobs.fit.run_fit import fit
from hornbeam.jobs.train.training import Run
from hornbeam.models import tiny_model
from hornbeam.programs import make_program
from hornbeam.recipe.recipe import load_recipe
from hornbeam.tools import calculate
from hornbeam.train.value import ValueModel

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


def test_answers_with_calls_become_rows_of_an_sft_set(tmp_path):
    chat = TemplateChat(with_template(tiny_model.tokenizer(), "tiny"), "tiny")
    said = [
        '<tool_call>{"name": "calculator", "arguments": {"expression": "12 * 3"}}</tool_call>',
        "36",
    ]
    tools = {"calculator": calculate}
    program, _ = make_program("tools", {})
    agents = {"solver": hb.Speaker(hb.Scripted(said, chat))}
    task = hb.Task("boxes", "3 boxes of 12?", "36")
    (tree,) = hb.grow_trees(program, [task], agents, hb.Independent(n=1), tools=tools)
    (leaf,) = tree.leaves()
    turns = asyncio.run(transcript(program, Limits(), {"solver": chat}, tree, leaf, tools))
    path = tmp_path / "set.jsonl"
    path.write_text("".join(set_line(messages, reply) for messages, reply in turns), "utf-8")
    rows = read_set(path)
    taught = [example for row in rows for example in examples(row, chat)]
    assert [[chat.text(ids) for ids, learns in e.spans if learns] for e in taught] == [
        [text] for text in said
    ]
    assert [list(e.prompt) for e in taught] == [list(tree.context(i)) for i in (1, 2)]


def test_a_value_model_is_fitted_on_the_ids_of_the_recipes_template(tmp_path):
    folder = tiny_model.make(tmp_path / "tiny")
    sets = [f"model.name={json.dumps(str(folder))}", "fit.objective=outcome", "fit.epochs=1"]
    recipe = load_recipe(RECIPE, sets)
    chat = TemplateChat(with_template(tiny_model.tokenizer(), "tiny"), "tiny")
    program, _ = make_program("tools", {})
    agents = {"solver": hb.Speaker(hb.Scripted(lambda prompt, rng: rng.choice(["36", "3"]), chat))}
    tasks = [hb.Task(str(n), f"{n} boxes of 12?", "36") for n in range(12)]
    trees = hb.grow_trees(
        program,
        tasks,
        agents,
        hb.Independent(n=2),
        tools={"calculator": calculate},
        score=lambda task, answer: float(answer == task.answer),
    )
    fit(recipe, trees, "reward", tmp_path / "prm", Progress())
    ValueModel.load(tmp_path / "prm").check(chat.fingerprint())
    bare = load_recipe(RECIPE, [*sets, 'model.chat_template=""'])
    fit(bare, trees, "reward", tmp_path / "other", Progress())
    with pytest.raises(ModelError, match="fitted on another tokenizer"):
        ValueModel.load(tmp_path / "other").check(chat.fingerprint())
