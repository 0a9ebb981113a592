"""The tiny world that searches are tested in: warm-started, labelled and fitted once."""

import asyncio
import json
from types import SimpleNamespace

import pytest

from hornbeam.assembly.plan import plan
from hornbeam.jobs.fit.run_fit import fit
from hornbeam.jobs.label.run_label import Label
from hornbeam.jobs.train.training import Run
from hornbeam.recipe.recipe import load_recipe
from hornbeam.tree.jsonl import read_trees

from .doors import RECIPE, Silent

LUCK = """
from hornbeam.chat import user
from hornbeam.tasks.lookup_world import WORDS

async def luck(task, ep):
    reply = await ep.ask("player", [user(task.question)])
    return "yes" if reply.text in WORDS else "no"
"""
LUCKY = """
run = {steps = 3, tasks = 2, eval_every = 1, checkpoint_every = 1}
model = {name = "tiny", options = {width = 16, heads = 2, layers = 1}}
agents = {player = {max_tokens = 1}}
program = {name = "luck.py:luck"}
reward = {rule = "exact"}
grow = {strategy = "independent", n = 4}
tasks.train = [{source = "jsonl", path = "tasks.jsonl"}]
tasks.eval = [{source = "jsonl", path = "held.jsonl"}]
"""


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """`recipe`: its file; `policy`, `prm`: folders of models; what labels and fit told."""
    folder = tmp_path_factory.mktemp("doors")
    path = folder / "doors.toml"
    prm, policy = folder / "prm", folder / "policy"
    path.write_text(RECIPE.replace("PRM", str(prm)))
    recipe = load_recipe(path)
    asyncio.run(Run(recipe, plan(recipe, folder), policy, Silent()).go())
    path.write_text(path.read_text().replace('name = "tiny"', f'name = "{policy / "final"}"'))
    path.write_text(path.read_text().replace("options = {width = 32}\n", "", 1))
    recipe = load_recipe(path)
    labels = asyncio.run(Label(recipe, plan(recipe, folder), folder / "labels", Silent()).go())
    trees = list(read_trees(folder / "labels" / "trees.jsonl"))
    fitted = fit(recipe, trees, "q", prm, Silent())
    return SimpleNamespace(
        folder=folder,
        recipe=path,
        policy=policy / "final",
        prm=prm,
        labels=labels,
        trees=trees,
        fitted=fitted,
    )


@pytest.fixture
def made(tmp_path):
    """Makes (recipe, plan) with changes, in a folder of its own."""
    (tmp_path / "luck.py").write_text(LUCK)
    (tmp_path / "luck.toml").write_text(LUCKY)
    for name, count in (("tasks", 6), ("held", 2)):
        rows = [{"question": f"{name} {i}", "answer": "yes"} for i in range(count)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))

    def make(*sets):
        recipe = load_recipe(tmp_path / "luck.toml", sets)
        return recipe, plan(recipe, tmp_path)

    return make
