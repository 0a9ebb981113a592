"""docs/search.md, "Search as a service": its recipe, its curl line, its client and its commands."""

import asyncio
import contextlib
import io
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from hornbeam.recipe.recipe import load_recipe

from .served_recipe import gateway, user, written

HERE = Path(__file__).parent
PAGE = (HERE.parents[1] / "docs" / "search.md").read_text("utf-8")
SECTION = PAGE.partition("## Search as a service")[2].partition("\n## ")[0]
BLOCKS = dict(re.findall(r"```(toml|python)\n(.*?)```", SECTION, re.DOTALL))
LINES = re.findall(r"^    (\S.+)$", re.sub(r" *\\?\n {8}", " ", SECTION), re.MULTILINE)
ADDRESS = "localhost:8930"


@pytest.fixture
def recipe(world, tmp_path):
    written(world, tmp_path)
    path = tmp_path / "recipe.toml"
    path.write_text(path.read_text() + BLOCKS["toml"])
    return load_recipe(path)


async def asked(recipe, tmp_path, client):
    """What a client is told, and what the service says itself."""
    async with gateway(recipe, tmp_path / "serve") as (address, made):
        told = await asyncio.to_thread(client, address.removeprefix("http://"))
        return told, await made.answer("careful", user("What is 3 * 12?"))


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_its_curl_line(recipe, tmp_path):
    (line,) = [line for line in LINES if line.startswith("curl ")]

    def curl(address):
        command = ["curl", "-s", *shlex.split(line.replace(ADDRESS, address))[1:]]
        return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)

    told, outcome = asyncio.run(asked(recipe, tmp_path, curl))
    assert told["choices"][0]["message"]["content"] == outcome.text
    assert told["hornbeam"]["tree"] == outcome.tree


def test_its_client(recipe, tmp_path):
    pytest.importorskip("openai")

    def client(address):
        with contextlib.redirect_stdout(io.StringIO()) as said:
            exec(BLOCKS["python"].replace(ADDRESS, address), {})
        return said.getvalue()

    told, outcome = asyncio.run(asked(recipe, tmp_path, client))
    text = f"{outcome.text} {outcome.prompt + outcome.sampled} http"
    assert told.startswith(text) and told.strip().endswith(f"/trees/{outcome.tree}")


def test_its_commands(recipe, world, hornbeam, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    shutil.copy(HERE / "asking_agent.py", tmp_path / "my_agent.py")
    shutil.copytree(world.prm, "runs/a/prm")
    shutil.copytree(world.policy, "runs/a/final")
    commands = [shlex.split(line)[1:] for line in LINES if line.startswith("hornbeam solve")]
    assert len(commands) == 2
    for words in commands:
        words = ["mcts-3" if word == "mcts-16" else word for word in words]
        words += ["--set", "agents.solver.max_tokens=4"]
        code, said, answer = hornbeam(*words)
        assert code == 0 and len(answer.splitlines()) == 1, said
