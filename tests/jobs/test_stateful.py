"""Forks behind calls of tools that keep state: counted, warned of once, and not of pure tools."""

import asyncio
import json
import warnings
from functools import partial

import pytest

import hornbeam as hb
from hornbeam.assembly.plan import plan
from hornbeam.chat import user
from hornbeam.jobs.train.training import Run
from hornbeam.recipe.recipe import load_recipe
from hornbeam.tools import make_tool
from hornbeam.workers.local_workers import is_pure, pure

from .doors import Silent

RECIPE = """
run = {steps = 2, tasks = 2, eval_every = 0, eval_start = false}
model = {name = "tiny", options = {width = 32}}
agents = {seeker = {max_tokens = 2}}
program = {name = "walk.py:main"}
tools = {move = {use = "walk.py:move"}, calculator = {}}
reward = {rule = "exact"}
grow = {strategy = "branch", trunks = 2, nodes = 2, rounds = 1}
[[tasks.train]]
source = "lookup"
count = 4
"""
WALK = """
from hornbeam.episode.program import program
from hornbeam.chat import user
from hornbeam.workers.local_workers import pure

@program
async def main(task, ep):
    for turn in range(3):
        await ep.ask("seeker", [user(f"{turn}")])
        await ep.call("move", by=1)
        await ep.call("calculator", expression="1+1")
    return task.answer if ep.rng.random() < 0.5 else ""

def move(by):
    return by
"""


def trained(folder, walk):
    (folder / "walk.py").write_text(walk)
    (folder / "walk.toml").write_text(RECIPE)
    recipe, heard = load_recipe(folder / "walk.toml"), Silent()
    asyncio.run(Run(recipe, plan(recipe, folder), folder / "run", heard).go())
    rows = map(json.loads, (folder / "run" / "metrics.jsonl").read_text("utf-8").splitlines())
    result = [line for line in heard.text.getvalue().splitlines() if "not marked pure" in line]
    return result, [row for row in rows if row["kind"] == "train"], folder / "run" / "report.html"


def test_a_run_warns_once_and_counts_every_call_that_was_not_made_again(tmp_path):
    result, rows, page = trained(tmp_path, WALK)
    (line,) = result  # of both steps
    assert line.startswith("warning: train/0/") and "(move)" in line
    # two trees of two trunks, each with two forks; both tools were called on the way there
    counts = [row["stateful_calls_replayed"] for row in rows]
    assert all(0 < count <= 2 * 2 * 2 * 3 for count in counts)
    assert "of tools not marked pure" in page.read_text("utf-8")


def test_pure_tools_are_no_news(tmp_path):
    result, rows, page = trained(tmp_path, WALK.replace("def move", "@pure\ndef move"))
    assert not result and all("stateful_calls_replayed" not in row for row in rows)
    assert "of tools not marked pure" not in page.read_text("utf-8")


async def walk(task, ep):
    for turn in range(3):
        await ep.ask("walker", [user(f"{turn}")])
        await ep.call("move", by=1)
    return "there"


def grown(move, strategy):
    who = {"walker": hb.Scripted(lambda prompt, rng: rng.choice("abcdef"))}
    return hb.grow_trees(walk, [hb.Task("t", "?")], who, strategy, tools={"move": move})


def test_a_notebook_warns_too():
    def move(by):
        return by

    fork = hb.Branch(trunks=1, nodes=2)
    with pytest.warns(UserWarning, match=r"grown/0/0: a branch .* \(move\)") as heard:
        grown(move, fork)
    assert len(heard) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        grown(move, hb.Independent(n=3))  # nothing forks
        grown(pure(move), fork)


def test_what_is_pure():
    class Machine:
        def __call__(self, by):
            return by

    assert not is_pure(Machine()) and not is_pure(len) and not is_pure(lambda by: by)
    assert is_pure(pure(Machine())) and is_pure(pure(Machine)()) and not is_pure(object())
    assert is_pure(partial(pure(lambda by, at: by), at=3))
    assert all(is_pure(make_tool(name)) for name in ("calculator", "lookup"))
    assert is_pure(make_tool("retrieval", corpus="none", fallback="hops"))
