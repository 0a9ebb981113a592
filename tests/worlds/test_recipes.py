"""Worlds in recipes and jobs; calls that run at once; the page's own example."""

import asyncio
import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hornbeam as hb
from hornbeam.assembly.plan import plan
from hornbeam.chat import user
from hornbeam.errors import RecipeError
from hornbeam.jobs.recipe_checks import check
from hornbeam.jobs.train.training import Run
from hornbeam.recipe.recipe import load_recipe
from hornbeam.store.database import Store
from hornbeam.worlds import FolderWorld, OwnWorld

from .kinds import Machine, heard, on_object, speakers
from .repository import repository
from .sandbox_server import forgotten, shared_server

ROOT = Path(__file__).parents[2]
RECIPE = """
run = {steps = 2, tasks = 1, eval_every = 0, eval_start = false}
model = {name = "tiny", options = {width = 32}}
agents = {seeker = {max_tokens = 2}}
program = {name = "walk.py:main"}
tools = {note = {use = "walk.py:note"}}
world = WORLD
reward = {rule = "exact"}
grow = {strategy = "branch", trunks = 2, nodes = 2, rounds = 1}
[[tasks.train]]
source = "lookup"
count = 4
"""
WALK = """
import hornbeam as hb
from hornbeam.chat import user

@hb.program
async def main(task, ep):
    for turn in range(3):
        await ep.ask("seeker", [user(f"{turn}")])
        await ep.call("note", text="x")
    return task.answer if ep.rng.random() < 0.5 else ""

class Notes:
    def __init__(self, task, first: int = 0):
        self.items = [task.id] * first

def note(text, world):
    if hasattr(world, "items") and not isinstance(world, dict):
        world.items.append(text)
        return len(world.items)
    if isinstance(world, dict):
        world["n"] = world.get("n", 0) + 1
        return world["n"]
    return int(world.run("echo >> n; wc -l < n").output)
"""


def written(folder, world):
    (folder / "walk.py").write_text(WALK)
    (folder / "walk.toml").write_text(RECIPE.replace("WORLD", world))
    return load_recipe(folder / "walk.toml")


@pytest.mark.parametrize(
    ("world", "first"),
    [
        ('{kind = "python"}', 0),
        ('{kind = "walk.py:Notes", first = 2, keep = 100}', 2),
        ('{kind = "folder", fork = "rerun"}', 0),
        ('{kind = "folder", folder = "REPOSITORY", copies = "worktree", commit = "first"}', 0),
        ('{kind = "e2b", url = "URL", sandbox_url = "URL", key_env = ""}', 0),
    ],
)
def test_a_recipe_trains_on_a_world(tmp_path, world, first):
    from jobs.doors import Silent

    if "URL" in world:
        world = world.replace("URL", shared_server().url)
    if "REPOSITORY" in world:
        world = world.replace("REPOSITORY", str(repository()))
    recipe, silent = written(tmp_path, world), Silent()
    check(recipe)
    asyncio.run(Run(recipe, plan(recipe, tmp_path), tmp_path / "run", silent).go())
    assert "pure" not in silent.text.getvalue()  # nobody is warned
    with Store(tmp_path / "run", read_only=True) as store:
        trees = [store.read(key).tree for key in store.keys("train")]
        costs = store.totals()
    assert len(trees) == 2 and costs["world_seconds"] > 0
    for tree in trees:
        for leaf in tree.leaves():
            assert heard(tree, leaf) == [first + n for n in (1, 2, 3)]
    forgotten()
    assert shared_server().left == []


@pytest.mark.parametrize(
    ("world", "line"),
    [
        ('{kind = "pithon"}', "did you mean 'python'"),
        ('{kind = "walk.py:Note"}', "did you mean 'Notes'"),
        ('{kind = "walk.py:Notes", frst = 2}', "did you mean 'first'"),
        ('{kind = "folder", folder = "gone"}', "world.folder = 'gone': "),
        ('{kind = "folder", copies = "worktre"}', "did you mean 'worktree'"),
        ('{kind = "folder", folder = ".", copies = "worktree", commit = "x"}', "not a git repo"),
        ('{kind = "e2b", key_env = "NO_SUCH_KEY"}', r"world\.key_env = 'NO_SUCH_KEY': the key of "),
        ('{kind = "e2b", url = "ftp://x"}', r"url = 'ftp://x'|match pattern"),
        ("{}", r"tool 'note' has a parameter `world`"),
    ],
)
def test_a_world_that_cannot_be_is_told_before_anything_runs(tmp_path, world, line):
    recipe = written(tmp_path, world)
    with pytest.raises(RecipeError, match=line):
        plan(recipe, tmp_path)


def test_worlds_from_python_stand_in_recipes():
    walk = {"program": "single", "tasks": {"source": "lookup"}}
    for world, table in [
        ("sqlite", '[world]\nkind = "sqlite"\n'),
        (FolderWorld(seconds=3), '[world]\nkind = "folder"\nseconds = 3.0\n'),
        ({"kind": "python", "keep": 5}, '[world]\nkind = "python"\nkeep = 5\n'),
    ]:
        assert table in hb.recipe_of(**walk, world=world)


# --- calls at once --------------------------------------------------------------------------------


async def program(task, ep):
    """Three calls of a step at once, then asks and calls at once: their order is the record's."""
    said = []
    for turn in range(3):
        reply = await ep.ask("walker", [user(f"{turn} {json.dumps(said)}")])
        calls = [ep.call("act", word="add", text=f"{reply.text}{n}") for n in range(3)]
        said += await asyncio.gather(*calls, ep.ask("walker", [user("?")]), ep.call("later", n=1))
        said = [each for each in said if isinstance(each, list)]
    return said


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 999), st.sampled_from([{}, {"keep": 0}]))
def test_calls_that_are_made_at_once_act_in_the_order_of_the_record(seed, more):
    def later(n, world):
        return world.act("add", "later")

    (tree,) = hb.grow_trees(
        program,
        [hb.Task("t", "?")],
        speakers(),
        hb.Branch(trunks=2, nodes=3, rounds=2),
        tools={"act": on_object, "later": later},
        world=OwnWorld(**more).made_by(Machine),
        seed=seed,
    )
    for leaf in tree.leaves():
        assert tree.nodes[leaf].error == ""
        counts = [found[0] for found in heard(tree, leaf)]
        assert counts == [*range(1, 13)]


def test_the_code_of_the_page_runs():
    text = (ROOT / "docs" / "worlds.md").read_text("utf-8")
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(code, {"__name__": "page"})
