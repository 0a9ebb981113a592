"""A recipe whose searches are served, on the policy and the value model of the world."""

import contextlib
import json

from hornbeam.assembly.plan import plan
from hornbeam.assembly.tree_growth import FolderGrower
from hornbeam.gateway.server import Gateway
from hornbeam.jobs.gateway.opened_sessions import OpenedSessions
from hornbeam.jobs.service.search_service import SearchService
from hornbeam.jobs.service.served_answers import ServedAnswers
from hornbeam.recipe.recipe import load_recipe
from hornbeam.store.ledger import Ledger

from .doors import Silent

RECIPE = """
[run]
steps = 0
at_once = 4
[model]
name = "MODEL"
[agents.solver]
max_tokens = 9
[agents.solver.segment]
by = "tokens"
tokens = 3
[program]
name = "single"
[[tasks.eval]]
source = "jsonl"
path = "questions.jsonl"
[reward]
rule = "exact"
[engine]
max_batch = 1
[guides.value]
kind = "prm"
model = "PRM"
[serve.beam]
strategy = "beam"
choose = "kept"
beams = 2
width = 2
[serve.cold]
choose = "majority"
n = 3
temperature = 0.5
[[search.methods]]
name = "majority-4"
choose = "majority"
n = 4
[[search.methods]]
name = "best-of-4"
choose = "best"
n = 4
[[search.methods]]
name = "beam"
strategy = "beam"
choose = "kept"
beams = 2
width = 2
[[search.methods]]
name = "mcts-5"
strategy = "mcts"
choose = "q"
simulations = 5
[[search.methods]]
name = "greedy"
greedy = true
n = 1
[[search.methods]]
name = "cold"
choose = "majority"
n = 3
temperature = 0.5
"""
NAMES = ["majority-4", "best-of-4", "beam", "mcts-5", "greedy", "cold"]


def user(text):
    return [{"role": "user", "content": text}]


def service(recipe, path):
    made = plan(recipe, recipe.base, [])
    return SearchService(recipe, FolderGrower(recipe, made, path, Silent(), "served"))


def written(world, folder, **changes):
    """The recipe, written into a folder with its questions."""
    questions = [f"door {word}?" for word in ("one", "two", "three", "one")]
    rows = [{"question": question, "answer": "left"} for question in questions]
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = RECIPE.replace("MODEL", str(world.policy)).replace("PRM", str(world.prm))
    for before, after in changes.items():
        assert before in text
        text = text.replace(before, after)
    (folder / "recipe.toml").write_text(text)
    return load_recipe(folder / "recipe.toml")


async def closed(made):
    await made.aclose()
    await made.grower.aclose()


@contextlib.asynccontextmanager
async def gateway(recipe, path, key=""):
    """(address, service) of a gateway that serves the searches of a recipe."""
    made = service(recipe, path)
    grower = made.grower.world.grower(Ledger(), made.grower.store, trained=False)
    door = OpenedSessions(grower, made.grower.store, tuple(recipe.agents), 3, 600.0)
    server = door.gateway = Gateway(key, door)
    server.searches = ServedAnswers(made)
    await made.open()
    try:
        yield await server.start(), made
    finally:
        await made.aclose()
        await door.aclose()
        await server.aclose()
        await made.grower.aclose()
