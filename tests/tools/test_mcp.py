"""Tools of real MCP servers: listed, checked, called in sessions, and what goes wrong with them."""

import asyncio
import os
import re
import socket
import subprocess
import sys
import time
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2
import pytest

import hornbeam as hb
from hornbeam.chat import user
from hornbeam.errors import RecipeError, ToolError
from hornbeam.programs import make_program
from hornbeam.tools.schema import schema_of
from hornbeam.workers.local_workers import LocalWorkers, is_pure

pytest.importorskip("mcp", reason="needs the extra mcp")

FILE = Path(__file__).with_name("mcp_server.py")
COMMAND = f"{sys.executable} {FILE}"
TASK = hb.Task("t", "?")


@pytest.fixture
def log(tmp_path, monkeypatch):
    """The lines that servers with `env = ("SHELF_LOG",)` write."""
    monkeypatch.setenv("SHELF_LOG", str(tmp_path / "log"))
    (tmp_path / "log").touch()
    return lambda: (tmp_path / "log").read_text().splitlines()


@contextmanager
def over_http():
    """The URL of a server in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(FILE), str(port)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as server:
        try:
            for _ in range(600):
                with suppress(httpx2.ConnectError):
                    httpx2.get(f"http://127.0.0.1:{port}/mcp")
                    break
                assert server.poll() is None, "the server ended"
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}/mcp"
        finally:
            server.kill()


def calls(tools, *wanted, seconds=10.0, session="here"):
    """What calls of a session give, errors as their lines; the session is ended behind them."""

    async def made():
        workers, out = LocalWorkers(tools, seconds), []
        for name, arguments in wanted:
            try:
                out.append(await workers.call(name, arguments, TASK, session))
            except ToolError as error:
                out.append(f"error: {error}")
        workers.end(session)
        await workers.aclose()
        return out

    return asyncio.run(made())


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


CALLS = [
    ("add", {"a": 1, "b": 2}),
    ("put", {"key": "b", "value": "x"}),
    ("put", {"key": "a", "value": "y"}),
    ("picture", {}),
    ("fail", {"why": "no luck"}),
    ("add", {"a": "one"}),
]


@pytest.mark.parametrize("how", ["stdio", "http"])
def test_results_are_json_data_and_failures_one_line(how):
    if how == "stdio":
        found = calls(hb.mcp(COMMAND), *CALLS)
    else:
        with over_http() as url:
            found = calls(hb.mcp(url), *CALLS)
    picture, failed, wrong = found.pop(3), found.pop(3), found.pop(3)
    assert found == [3, ["b"], ["a", "b"]]  # of one session
    assert picture == (
        "error: picture returned image/png, and only texts and JSON data can be read here"
    )
    assert failed.startswith("error: Error executing tool fail") and "\n" not in failed
    assert wrong.startswith("error: Error executing tool add") and "\n" not in wrong


def test_names_schemas_and_what_is_pure():
    tools = hb.mcp(COMMAND, only=("add", "put"), prefix="shelf_")
    assert list(tools) == ["shelf_add", "shelf_put"]
    schema = schema_of("shelf_add", tools["shelf_add"])["function"]
    assert schema["description"] == "Add two whole numbers."
    assert schema["parameters"]["properties"]["a"]["type"] == "integer"
    assert schema["parameters"]["required"] == ["a", "b"]
    assert is_pure(tools["shelf_add"]) and not is_pure(tools["shelf_put"])  # add says read-only
    assert all(map(is_pure, hb.mcp(COMMAND, pure=True).values()))


WRONG = {
    "nowhere-to-be-found --now": "there is no command 'nowhere-to-be-found'",
    "python 'oops": "is no command: No closing quotation",
    " ": "name a command, or a URL",
    f"{sys.executable} -c 'import sys; sys.exit(\"not today\")'": "stderr: not today",
    "http://127.0.0.1:9/mcp": "does not start",
}


@pytest.mark.parametrize("where", WRONG)
def test_a_server_that_does_not_start_is_one_line(where):
    with pytest.raises(RecipeError, match=re.escape(WRONG[where])) as wrong:
        hb.mcp(where)
    assert "\n" not in str(wrong.value)


def test_what_a_server_lacks_is_one_line():
    with pytest.raises(RecipeError, match=r"no tool 'ad': did you mean 'add'\?"):
        hb.mcp(COMMAND, only=("ad",))
    with pytest.raises(RecipeError, match="environment has no NO_SUCH_KEY"):
        hb.mcp(COMMAND, env=("NO_SUCH_KEY",))
    silent = f"{sys.executable} -c 'import sys; sys.stdin.read()'"
    with pytest.raises(RecipeError, match=r"did not answer within 0\.2 s"):
        hb.mcp(silent, start_seconds=0.2)


BAD = """
import asyncio, json, sys
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp_types import ListToolsResult, Tool

async def tools(context, params):
    return ListToolsResult(tools=[Tool(name="odd", input_schema=json.loads(sys.argv[1]))])

async def main():
    server = Server("bad", on_list_tools=tools)
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())

asyncio.run(main())
"""


def test_a_schema_that_is_none_is_one_line(tmp_path):
    (tmp_path / "bad.py").write_text(BAD)
    server = f"{sys.executable} {tmp_path / 'bad.py'}"
    schema = '{"type": "object", "properties": {"a": {"type": "nonsense"}}}'
    with pytest.raises(RecipeError, match=r"schema of tool 'odd' .*properties\.a\.type") as wrong:
        hb.mcp(f"{server} '{schema}'")
    assert "\n" not in str(wrong.value)
    assert list(hb.mcp(f"{server} '{schema.replace('nonsense', 'null')}'")) == ["odd"]


def shelves(count):
    """A program that puts a thing on the shelf at each of its steps."""

    async def run(task, ep):
        for number in range(count):
            reply = await ep.ask("walker", [user(f"{number}")])
            held = await ep.call("put", key=f"{number}{reply.text}", value="")
        return len(held)

    return run


def grown(tools, strategy, program):
    who = {"walker": hb.Scripted(lambda prompt, rng: rng.choice("abcdef"))}
    (tree,) = hb.grow_trees(program, [TASK], who, strategy, tools=tools)
    return tree


def test_every_episode_has_a_session_and_a_fork_a_new_one(log):
    tools = hb.mcp(COMMAND, env=("SHELF_LOG",))
    assert log() == ["start"]  # to list its tools
    tree = grown(tools, hb.Independent(n=3), shelves(2))
    assert [tree.nodes[i].answer for i in tree.leaves()] == [2, 2, 2]
    assert log().count("start") == 4 and len(log()) == 4 + 3 * 2
    with pytest.warns(UserWarning, match="not marked pure"):
        tree = grown(tools, hb.Branch(trunks=1, nodes=2), shelves(3))
    own = {}  # of every episode: the steps that it made itself
    for node in tree.nodes[1:]:
        own[node.origin.episode] = own.get(node.origin.episode, 0) + 1
    ends = [tree.nodes[i] for i in tree.leaves()]
    assert min(own.values()) < 3  # one forks behind a call, and finds an empty shelf there
    assert {end.origin.episode: end.answer for end in ends} == own


def test_a_fork_makes_the_calls_of_its_path_again_by_choice(log):
    tools = hb.mcp(COMMAND, env=("SHELF_LOG",), rerun=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is lost behind a fork
        tree = grown(tools, hb.Branch(trunks=1, nodes=2), shelves(3))
    ends = [tree.nodes[i] for i in tree.leaves()]
    assert len(ends) == 3 and [end.answer for end in ends] == [3, 3, 3]
    made = sum(len(node.calls) for node in tree.nodes)
    assert len(log()) - log().count("start") > made

    async def pids(task, ep):
        for number in range(2):
            await ep.ask("walker", [user(f"{number}")])
            await ep.call("pid")

    with pytest.warns(UserWarning, match="gave another result than the recorded one"):
        grown(hb.mcp(COMMAND, rerun=True), hb.Branch(trunks=1, nodes=2), pids)


def test_a_run_has_one_session_by_choice(log):
    tools = hb.mcp(COMMAND, env=("SHELF_LOG",), session="run")
    grown(tools, hb.Independent(n=3), shelves(1))
    assert log().count("start") == 2 and len(log()) == 2 + 3


def test_a_model_calls_them_natively_by_their_schemas():
    said = ['<tool_call>{"name": "add", "arguments": {"a": 40, "b": "two"}}</tool_call>']
    said += ['<tool_call>{"name": "add", "arguments": {"a": 40, "b": 2}}</tool_call>', "It is 42."]
    program, _ = make_program("tools", {"agent": "walker", "tools": ["add"]})
    tools, who = hb.mcp(COMMAND), {"walker": hb.Scripted(said)}
    (tree,) = hb.grow_trees(program, [TASK], who, hb.Independent(n=1), tools=tools)
    (leaf,) = tree.leaves()
    refused, made = [call for i in tree.path(leaf) for call in tree.nodes[i].calls]
    assert refused.error.startswith("the arguments do not fit: b must be integer")
    assert made.result == 42 and tree.nodes[leaf].answer == "It is 42."


def test_a_death_fails_its_call_and_the_next_session_is_a_new_one(log):
    tools = hb.mcp(COMMAND, env=("SHELF_LOG",))
    wanted = [("put", {"key": "a", "value": ""}), ("die", {}), ("add", {"a": 1, "b": 1})]
    with pytest.warns(UserWarning, match="the next session starts the server anew") as told:
        found = calls(tools, *wanted)
        again = calls(tools, *wanted)
    assert found == again and len(told) == 1
    assert found == [
        ["a"],
        "error: its MCP server has ended; its last line of stderr: broke down",
        "error: the session of this episode is lost: its MCP server has ended",
    ]


def test_a_shared_session_is_begun_anew_until_nothing_helps(log):
    tools = hb.mcp(COMMAND, env=("SHELF_LOG",), session="run")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        good = calls(tools, ("die", {}), ("add", {"a": 1, "b": 1}), ("die", {}))
        found = calls(tools, *[("die", {})] * 4)
    assert good[1] == 2 and log().count("start") == 1 + 2 + 2
    assert (
        found[2:]
        == ["error: its MCP server is not started again: it ended 3 times without an answer"] * 2
    )


def test_a_slow_call_is_told_and_the_session_goes_on(tmp_path):
    tools = hb.mcp(COMMAND)
    wanted = [("wait", {"path": str(tmp_path / "never")}), ("add", {"a": 2, "b": 2})]
    late, right = calls(tools, *wanted, seconds=1.0)
    assert late == "error: wait took longer than 1 s" and right == 4


def test_processes_end_with_their_sessions():
    (pid,) = calls(hb.mcp(COMMAND), ("pid", {}))
    assert not alive(pid)
    script = f"import asyncio, hornbeam as hb\nt = hb.mcp({COMMAND!r}, session='run')['pid']\n"
    script += "print(asyncio.run(t()))"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert not alive(int(ended.stdout))  # though nobody closed it


def test_a_server_over_http_that_is_gone_is_one_line():
    with over_http() as url:
        tools = hb.mcp(url, session="run")
        assert calls(tools, ("add", {"a": 1, "b": 1})) == [2]
    with pytest.warns(UserWarning, match="starts the server anew"):
        (line,) = calls(tools, ("add", {"a": 1, "b": 1}))
    assert line.startswith("error: it does not start")
