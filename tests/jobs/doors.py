"""A very small tiny world for searches: its recipe, and helpers that several test files use."""

import asyncio
import json
from io import StringIO

from rich.console import Console

from hornbeam.assembly.plan import plan
from hornbeam.assembly.progress import Progress
from hornbeam.jobs.search.run_search import Search
from hornbeam.recipe.recipe import Recipe, load_recipe
from hornbeam.store.database import Store
from hornbeam.tasks.lookup_world import doors, lookup
from hornbeam.tree.nodes import Call, Node, Origin, Tree, ids

RECIPE = """
[run]
steps = 0
eval_start = false
at_once = 4
[model]
name = "tiny"
options = {width = 32}
[agents.seeker]
max_tokens = 4
[program]
name = "lookup"
[tools.lookup]
[[tasks.train]]
source = "lookup"
split = "train"
count = 40
options = {depth = 3, signs = 4, known = 0.75}
[[tasks.eval]]
source = "lookup"
split = "test"
count = 4
options = {depth = 3, signs = 4, known = 0.75}
[reward]
rule = "exact"
[sft]
count = 40
epochs = 28
batch_size = 16
lr = 5e-3
[engine]
max_batch = 32
[label]
simulations = 8
children = 3
most = 0.95
tasks = 16
skip = 2
[fit]
epochs = 4
batch_size = 4
lr = 2e-3
[guides.value]
kind = "prm"
model = "PRM"
[guides.orm]
kind = "orm"
model = "PRM"
[guides.likelihood]
kind = "likelihood"
"""
GREEDY = {"name": "greedy", "greedy": True, "n": 1}
SINGLE = {"name": "single", "n": 1}
BEAM = {"name": "beam", "strategy": "beam", "choose": "kept", "beams": 2, "width": 2}


class Silent(Progress):
    """A watch that keeps its lines."""

    def __init__(self):
        self.text = StringIO()
        super().__init__(Console(file=self.text, width=200))


def recipe_of(world, *methods, **sections):
    """The recipe of the world with these methods to search by."""
    recipe = load_recipe(world.recipe).model_dump(mode="json", by_alias=True)
    recipe["search"] = {"methods": list(methods)}
    for name, section in sections.items():
        recipe[name] = {**recipe[name], **section}
    return Recipe.model_validate(recipe)


def search(world, path, *methods, progress=None, **sections):
    """The result of a search in a run folder."""
    recipe = recipe_of(world, *methods, **sections)
    job = Search(recipe, plan_of(world), path, progress or Silent())
    result, page = asyncio.run(job.go("hornbeam search"))
    assert json.loads((path / "search.json").read_text()) == json.loads(json.dumps(result))
    assert page == path / "search.html" and page.stat().st_size > 5_000
    return result


def plan_of(world):
    return plan(load_recipe(world.recipe), world.recipe.parent)


def points(result):
    """{(method, label): row} of a result."""
    return {(m["name"], p["label"]): p for m in result["methods"] for p in m["points"]}


def stored(path, name):
    """(trees, entries by tree) of the one stage whose name begins so, read from the database."""
    with Store(path, read_only=True) as store:
        (stage,) = {key.stage for key in store.keys(None) if key.stage.startswith(name)}
        keys = store.keys(stage)
        trees = [store.read(key).tree for key in keys]
        entries = {str(key): [] for key in keys}
        for entry in store.entries(stage):
            entries[entry.tree].append(entry)
    return trees, list(entries.values())


def stages(path):
    """Stages of the trees in a database."""
    with Store(path, read_only=True) as store:
        return list(dict.fromkeys(key.stage for key in store.keys(None)))


def plain(tree):
    """A tree as data, cost of nothing in it."""
    from hornbeam.tree.jsonl import to_json

    return to_json(tree)


def walks(tasks):
    """One run of each task that goes wrong at one of its doors; steps before are right."""
    for number, task in enumerate(tasks):
        tree, note = Tree(task.to_json()), task.question
        tree.column("label")
        for step, gold in enumerate(task.data["gold"]):
            wrong = number % 4 == step
            door = {"left": "middle", "middle": "right", "right": "left"}[gold] if wrong else gold
            key = doors(note)[door]
            note = lookup(task, key)
            call = Call("lookup", {"key": key}, note)
            place = {"origin": Origin(step=step), "finish": "stop", "calls": (call,)}
            one = ids([1])
            i = tree.append(Node(step, "seeker", prompt=one, tokens=one, text=door, **place))
            tree.columns["label"][i] = -1 if wrong else 1
            if wrong:
                break
        yield tree
