"""Runs whose tools are an MCP server's: trained, stopped and gone on, on Ray, and refused."""

import json
import os
import sys
from pathlib import Path

import pytest

import hornbeam as hb
from hornbeam.errors import ArgumentError
from hornbeam.store.database import Store

pytest.importorskip("mcp", reason="needs the extra mcp")

FILE = Path(__file__).parents[1] / "tools" / "mcp_server.py"
RECIPE = f"""
[run]
steps = 2
tasks = 1
eval_every = 0
eval_start = false
[model]
name = "tiny"
options = {{width = 16, layers = 1}}
[agents.seeker]
max_tokens = 2
[program]
name = "mine.py:walk"
[tools.shelf]
mcp = '{sys.executable} {FILE}'
env = ["SHELF_LOG"]
[[tasks.train]]
source = "lookup"
count = 4
[reward]
rule = "mine.py:odd"
[grow]
strategy = "independent"
n = 2
"""
PROGRAM = """
from hornbeam import user
from hornbeam.errors import ToolError

async def walk(task, ep):
    for turn in range(3):
        reply = await ep.ask("seeker", [user(f"{task.id} {turn}")])
        held = await ep.call("put", key=f"{turn} {reply.text}", value=task.id)
    return len(held)

async def broken(task, ep):
    reply = await ep.ask("seeker", [user(task.question)])
    try:
        await ep.call("die")
    except ToolError as error:
        return str(error)

def odd(task, answer, text):
    return len(text) % 2
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.setenv("SHELF_LOG", str(tmp_path / "log"))
    (tmp_path / "mine.py").write_text(PROGRAM)
    path = tmp_path / "mine.toml"
    path.write_text(RECIPE)
    return path


def log(recipe):
    """(sessions that began, calls that were made)."""
    lines = recipe.with_name("log").read_text().splitlines()
    return lines.count("start"), len(lines) - lines.count("start")


def trees(run):
    store = Store(run)
    try:
        return [store.read(key).tree for key in store.keys("train")]
    finally:
        store.close()


def test_a_run_that_was_stopped_makes_no_recorded_call_again(recipe, hornbeam):
    out = recipe.with_name("run")
    code, err, said = hornbeam("train", recipe, "--out", out, "--set", "budget.calls=9")
    assert "budget.calls: 9 of 9 calls are spent" in err + said
    starts, before = log(recipe)
    assert 3 <= before <= 5 and starts <= 1 + 2
    code, err, _ = hornbeam("train", recipe, "--out", out, "--set", "budget.calls=1000")
    assert code == 0, err
    grown = trees(out)
    recorded = [call for tree in grown for node in tree.nodes for call in node.calls]
    assert len(grown) == 2 and len(recorded) == 2 * 2 * 3
    assert log(recipe)[1] == len(recorded)
    assert all(call.result and not call.error for call in recorded)


def test_a_server_that_dies_in_a_run_is_told_once_and_counted(recipe, hornbeam):
    out = recipe.with_name("run")
    recipe.write_text(RECIPE.replace("mine.py:walk", "mine.py:broken"))
    code, err, said = hornbeam("train", recipe, "--out", out)
    assert code == 0, err
    told = [line for line in (err + said).splitlines() if "starts the server anew" in line]
    assert len(told) == 1 and "tools.shelf: its MCP server has ended" in told[0]
    rows = [json.loads(row) for row in (out / "metrics.jsonl").read_text().splitlines()]
    assert [row["tool_errors"] for row in rows if row["kind"] == "train"] == [2, 2]


def test_actors_open_sessions_of_their_own(recipe, hornbeam):
    pytest.importorskip("ray")
    recipe.write_text(RECIPE.replace("steps = 2", "steps = 1"))
    out = recipe.with_name("run")
    code, err, _ = hornbeam(
        "train", recipe, "--out", out, "--set", "workers.kind=ray", "--set", "workers.growers=1"
    )
    assert code == 0, err
    assert log(recipe) == (2 + 2, 2 * 3)  # the driver and the actor list the tools


CALC = '[tools.put]\nuse = "mine.py:odd"\n[[tasks.train]]'
WRONG = {
    "clash": (
        {"[[tasks.train]]": CALC},
        "[tools.put] has a tool 'put', as [tools.shelf] has: set",
    ),
    "both": ({"mcp =": 'use = "calculator"\nmcp ='}, "[tools.shelf] has both use and mcp"),
    "setting": ({"env =": "envs ="}, "no setting 'envs': did you mean 'env'?"),
    "only": ({"env =": 'only = ["puts"]\nenv ='}, "no tool 'puts': did you mean 'put'?"),
    "session": ({"env =": 'session = "tree"\nenv ='}, "session = 'tree'"),
    "command": ({sys.executable: "no-such-python"}, "there is no command 'no-such-python'"),
    "program": ({'"mine.py:walk"': '"lookup"'}, "calls tool 'lookup', and [tools] has 'add'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_table_is_one_line(case, recipe, hornbeam):
    changes, line = WRONG[case]
    text = RECIPE
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    recipe.write_text(text)
    code, err, _ = hornbeam("train", recipe, "--out", recipe.with_name("run"))
    assert code == 2 and line in err and "Traceback" not in err
    assert len(err.strip().splitlines()) == 1 and not recipe.with_name("run").exists()


def test_nothing_of_a_run_goes_on_behind_it(recipe, hornbeam):
    recipe.with_name("mine.py").write_text(
        PROGRAM.replace(
            '"put", key=f"{turn} {reply.text}", value=task.id)\n    return len(held)',
            '"pid")\n    return held',
        )
    )
    out = recipe.with_name("run")
    assert hornbeam("train", recipe, "--out", out)[0] == 0
    pids = {call.result for tree in trees(out) for node in tree.nodes for call in node.calls}
    assert len(pids) == 4
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_call_runs_a_servers_command_in_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shelf.py").write_text(FILE.read_text("utf-8"), "utf-8")
    (tmp_path / "mine.py").write_text(PROGRAM)
    given = {"model": {"name": "tiny", "options": {"width": 16, "layers": 1}}, "reward": "exact"}
    given |= {"agents": {"seeker": {"max_tokens": 2}}, "strategy": hb.Independent(n=2)}
    given |= {"run": {"tasks": 1, "eval_start": False}, "steps": 1, "out": "out"}
    tasks = {"source": "lookup", "count": 4}
    server = {"mcp": f"{sys.executable} shelf.py"}
    run = hb.train("mine.py:walk", tasks, tools={"shelf": server}, **given, progress=False)
    assert [row["tool_errors"] for row in run.metrics if row["kind"] == "train"] == [0]
    with pytest.raises(ArgumentError, match=r"tools={'NAME': {'mcp': '.*shelf.py'}}"):
        hb.train("mine.py:walk", tasks, tools=hb.mcp(server["mcp"]), **given, progress=False)
