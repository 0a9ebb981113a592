"""Reasoning that a chat template drops: how often stands in metrics and on the page."""

import asyncio
import json

from hornbeam.assembly.plan import plan
from hornbeam.jobs.train.training import Run
from hornbeam.recipe.recipe import load_recipe

from .doors import Silent

RECIPE = """
run = {steps = 1, tasks = 2, eval_every = 0, eval_start = false}
model = {name = "tiny", options = {width = 32}, chat_template = "own.jinja"}
agents = {thinker = {max_tokens = 3}}
program = {name = "think.py:main"}
tools = {calculator = {}}
reward = {rule = "exact"}
grow = {strategy = "independent", n = 2}
[[tasks.train]]
source = "lookup"
count = 4
"""
PROGRAM = """
from hornbeam.chat import user
from hornbeam.episode.program import program

@program
async def main(task, ep):
    messages = [user("a")]
    for turn in range(3):
        reply = await ep.ask("thinker", messages, tools=["calculator"])
        assert reply.reasoning, "the prompt begins a thought, which no answer closes"
        messages += [reply.message, user("b")]
    return task.answer if ep.rng.random() < 0.5 else ""
"""
TEMPLATE = (  # begins a thought in the prompt, and drops those of earlier turns, as Qwen3's heirs
    "{% if tools %}<system>{% for t in tools %}{{ t.function.name }}{% endfor %}<end>{% endif %}"
    "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' %}{% if loop.last or KEEP %}"
    "<think>{{ m.reasoning_content }}</think>{% endif %}{% endif %}{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}"
    "<end>{% endfor %}{% if add_generation_prompt %}<assistant><think>{% endif %}"
)


def trained(folder, template):
    (folder / "think.py").write_text(PROGRAM)
    (folder / "own.jinja").write_text(template)
    (folder / "think.toml").write_text(RECIPE)
    recipe = load_recipe(folder / "think.toml")
    asyncio.run(Run(recipe, plan(recipe, folder), folder / "run", Silent()).go())
    rows = map(json.loads, (folder / "run" / "metrics.jsonl").read_text("utf-8").splitlines())
    (row,) = [row for row in rows if row["kind"] == "train"]
    return row, (folder / "run" / "report.html").read_text("utf-8")


def test_dropped_reasoning_is_counted_once_an_answer(tmp_path):
    row, page = trained(tmp_path, TEMPLATE.replace("KEEP", "false"))
    assert row["failed"] == 0
    # two trees of two episodes: two answers of each are quoted later, and lose their thought once
    assert row["rewritten_reasoning"] == 2 * 2 * 2 == row["forks"]
    assert "the chat template drops reasoning" in page


def test_reasoning_that_stays_is_no_news(tmp_path):
    row, page = trained(tmp_path, TEMPLATE.replace("KEEP", "true"))
    assert row["failed"] == 0 == row["forks"] and "rewritten_reasoning" not in row
    assert "the chat template drops reasoning" not in page
