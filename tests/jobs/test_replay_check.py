"""`hornbeam replay`: which programs repeat their own path."""

import json

RECIPE = """
[model]
name = "tiny"
options = {width = 16, layers = 1}
[agents.seeker]
max_tokens = 3
[program]
name = "mine.py:NAME"
[[tasks.train]]
source = "lookup"
split = "train"
count = 4
[reward]
rule = "exact"
"""

MINE = """
import itertools

from hornbeam.chat import user

COUNT = itertools.count()


async def steady(task, ep):
    return [(await ep.ask("seeker", [user(f"{task.question} {n}")])).text for n in range(3)]


async def unsteady(task, ep):
    first = await ep.ask("seeker", [user(task.question)])
    await ep.ask("seeker", [user(f"{first.text} {next(COUNT)}")])
    return (await ep.ask("seeker", [user("and?")])).text


async def fails(task, ep):
    await ep.ask("seeker", [user(task.question)])
    raise ValueError("no")
"""


def write(folder, name):
    (folder / "mine.py").write_text(MINE)
    recipe = folder / "recipe.toml"
    recipe.write_text(RECIPE.replace("NAME", name))
    return recipe


def test_a_program_that_repeats_its_path(tmp_path, hornbeam):
    code, _, out = hornbeam("replay", write(tmp_path, "steady"), "--tasks", "2")
    assert code == 0 and out == "2 runs; 6 forks, 0 diverged\n"


def test_one_that_does_not_is_told_where(tmp_path, hornbeam):
    code, _, out = hornbeam("replay", write(tmp_path, "unsteady"), "--tasks", "1")
    told, first = out.splitlines()
    assert code == 1 and told == "1 runs; 3 forks, 1 diverged"
    assert (
        first.startswith("The first: task lookup") and "fork behind step 2: Divergence: " in first
    )
    assert "where it now says" in first


def test_one_that_fails(tmp_path, hornbeam):
    code, _, out = hornbeam("replay", write(tmp_path, "fails"), "--tasks", "1", "--json")
    assert code == 1 and json.loads(out)["failed"] == 1


WORLD = """
import itertools
from hornbeam.chat import user

COUNT = itertools.count(1)


def note(text, world):
    world[text] = 1
    return len(world)


def counted(text, world):
    return next(COUNT)


async def steady(task, ep):
    said = await ep.ask("seeker", [user(task.question)])
    await ep.call("note", text="x")
    said = await ep.ask("seeker", [user(said.text)])
    return await ep.call("note", text=said.text)
"""


def test_a_fork_that_hears_another_result_in_its_world_is_told(tmp_path, hornbeam):
    recipe = write(tmp_path, "steady")
    (tmp_path / "mine.py").write_text(WORLD)
    tail = '[tools.note]\nuse = "mine.py:TOOL"\n[world]\nkind = "python"\nfork = "rerun"\n'
    recipe.write_text(recipe.read_text() + tail.replace("TOOL", "note"))
    code, _, out = hornbeam("replay", recipe, "--tasks", "1")
    assert code == 0 and out == "1 runs; 2 forks, 0 diverged\n"
    recipe.write_text(recipe.read_text().replace("mine.py:note", "mine.py:counted"))
    code, _, out = hornbeam("replay", recipe, "--tasks", "1")
    told, first = out.splitlines()
    assert code == 1 and told == "1 runs; 2 forks, 0 diverged, 1 without their world"
    assert "fork behind step 1: WorldError: call 1 of 1 made again in a fresh world, note" in first
    code, _, out = hornbeam("replay", recipe, "--tasks", "1", "--json")
    assert code == 1 and json.loads(out)["worlds"] == 1
