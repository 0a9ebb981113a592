"""Agents that are forked of one warm process: as fresh ones, and ended with who started them."""

import asyncio
import json
import os
import select
import socket
import subprocess
import sys
import textwrap

import pytest

from grow.worlds import KEY
from hornbeam.engine.scripted import Scripted
from hornbeam.gateway import fork_host
from hornbeam.gateway.agent_program import AgentCommand, AgentProgram
from hornbeam.grow.effects import Speaker
from hornbeam.grow.grower import Grower
from hornbeam.search import Independent
from hornbeam.tree.nodes import Tree
from hornbeam.tree.task import Task

ASK = """
import json, os, urllib.request

BASE, KEY = os.environ["OPENAI_BASE_URL"], os.environ["OPENAI_API_KEY"]  # as the file is loaded


def ask(text):
    body = json.dumps({"messages": [{"role": "user", "content": text}]}).encode()
    headers = {"Authorization": f"Bearer {KEY}"}
    request = urllib.request.Request(f"{BASE}/chat/completions", body, headers)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["choices"][0]["message"]["content"]
"""
# What an installed library is: on the path, elsewhere than the agent. It says each import.
LIBRARY = """
import os

with open(os.environ["IMPORTS"], "a") as said:
    said.write("imported\\n")
"""
THREAD = "import threading, time\n"
THREAD += "threading.Thread(target=time.sleep, args=(600,), name='tracer', daemon=True).start()"


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Writes the files of an agent, and grows its tree: (answers, errors, warnings, imports)."""
    library, folder = tmp_path / "library", tmp_path / "agent"
    library.mkdir()
    folder.mkdir()
    imports = tmp_path / "imports.txt"
    monkeypatch.setenv("IMPORTS", str(imports))
    monkeypatch.setenv("PYTHONPATH", f"{library}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")

    def go(
        agent,
        n=3,
        command="agent.py:run",
        library_text=LIBRARY,
        files=(),
        in_turn=False,
        **settings,
    ):
        (library / "framework.py").write_text(library_text)
        for name, text in {"agent.py": agent, "asking.py": ASK, **dict(files)}.items():
            (folder / name).write_text(textwrap.dedent(text))
        imports.write_text("")
        program = AgentProgram(AgentCommand(command=command, folder=str(folder), **settings))
        program.host.warn = (told := []).append

        async def run():
            agents = {"solver": Speaker(Scripted(lambda prompt, rng: str(rng.randrange(10**6))))}
            grower = Grower(program, agents, Independent(n=1 if in_turn else n))
            try:
                for seed in range(n if in_turn else 1):
                    tree = Tree(Task("t", "What?").to_json(), seed=seed)
                    trees.append(await grower.grow(KEY, tree))
            finally:
                await program.aclose()

        trees = []
        asyncio.run(run())
        ends = [tree.nodes[i] for tree in trees for i in tree.leaves()]
        said = [end.answer for end in ends]
        return said, [end.error for end in ends], told, imports.read_text().count("imported")

    return go


AGENT = """
'''Of the environment of a run, made as the file is loaded.'''
import framework
from asking import ask

def run(task, session):
    return ask(task.question)

if __name__ == "__main__":
    import sys
    print(ask(sys.argv[1]))
"""


@pytest.mark.parametrize("command", ["agent.py:run", "python agent.py {task}"])
def test_what_a_file_begins_with_is_imported_once_and_the_file_is_run_by_each(world, command):
    answers, errors, told, imports = world(AGENT, command=command)
    assert imports == 1 and told == [] and errors == [""] * 3
    assert len(set(answers)) == 3  # each asked in a session of its own
    assert world(AGENT, command=command, start="process") == (answers, errors, [], 3)


def test_imports_of_files_beside_it_are_made_once_too(world):
    agent = "from mine import ask\ndef run(task, session):\n    return ask(task.question)\n"
    mine = "import framework\nfrom asking import ask\n"
    assert world(agent, files={"mine.py": mine})[3] == 1


def test_what_may_change_an_import_keeps_it_in_the_run(world):
    agent = (
        'import os\nos.environ["X"] = "1"\nimport framework\ndef run(task, session):\n    return 1'
    )
    assert world(agent)[3] == 3


def test_threads_of_an_import_are_not_forked(world):
    answers, errors, told, imports = world(AGENT, library_text=LIBRARY + THREAD)
    assert errors == [""] * 3 and len(set(answers)) == 3 and imports == 4
    (line,) = told
    assert line.startswith("each run of the agent is a new process, not a fork: what it imports")
    assert line.endswith("starts threads (tracer)")


def test_a_client_that_an_import_makes_is_made_by_each_run(world):
    client = LIBRARY + "ADDRESS, KEY = os.environ['OPENAI_BASE_URL'], os.environ['OPENAI_API_KEY']"
    agent = """
    import framework
    from asking import ask

    def run(task, session):
        assert (framework.ADDRESS, framework.KEY) == (session.base_url, session.api_key)
        return ask(task.question)
    """
    answers, errors, told, imports = world(agent, library_text=client)
    assert errors == [""] * 3 and len(set(answers)) == 3 and imports == 4
    assert told == ["each run of the agent imports framework itself: KeyError: 'OPENAI_API_KEY'"]


STATE = """
import atexit, json, os, random, sys, threading
from asking import ask

def state():
    thread = threading.Thread(target=lambda: print("of a thread", file=sys.stderr))
    thread.start()
    thread.join()
    atexit.register(lambda: print("at the end", file=sys.stderr))
    return {
        "name": __name__, "argv": sys.argv[1:], "path": sys.path[0], "input": sys.stdin.read(),
        "folder": sorted(os.listdir()), "hash": hash("a text"), "said": ask("x"),
        "environment": sorted(os.environ), "leads": os.getpgrp() == os.getpid(),
        "main": sys.modules["__main__"].__file__,
    }

if __name__ == "__main__":
    print(json.dumps(state()))
    sys.exit(sys.argv[2])
"""


def test_a_forked_script_is_as_a_fresh_process(world):
    forked = world(STATE, n=1, command='python agent.py {task} "its last word"')
    fresh = world(STATE, n=1, command='python agent.py {task} "its last word"', start="process")
    assert forked == fresh
    words = "of a thread | its last word | at the end"
    assert forked[1] == [f"ProgramError: the agent ended with exit code 1: {words}"]


def test_a_forked_script_answers_as_a_fresh_process(world):
    agent = STATE.replace("    sys.exit(sys.argv[2])\n", "")
    forked = world(agent, n=1, command="python agent.py {task} 2", answer="output")
    fresh = world(agent, n=1, command="python agent.py {task} 2", answer="output", start="process")
    assert forked == fresh and json.loads(forked[0][0])["argv"] == ["What?", "2"]


def test_an_agent_that_raises_tells_where(world):
    agent = "def run(task, session):\n    raise ValueError('of the agent')\n"
    (error,) = world(agent, n=1)[1]
    assert error.startswith("ProgramError: the agent ended with exit code 1: ")
    assert error.endswith("ValueError: of the agent") and "agent.py" in error


def test_random_numbers_begin_equal_in_every_run_of_a_task(world):
    agent = "import random\ndef run(task, session):\n    return random.random()\n"
    answers = world(agent)[0]
    assert len(set(answers)) == 1 and world(agent)[0] == answers


def test_a_lost_host_is_told_and_started_again(world):
    agent = """
    import os, signal
    from pathlib import Path
    from asking import ask

    def run(task, session):
        mark = Path(os.environ["IMPORTS"])
        if not mark.read_text():
            mark.write_text("here")
            os.kill(os.getppid(), signal.SIGKILL)
            signal.pause()
        return ask(task.question)
    """
    (lost, found), errors, told, _ = world(agent, n=2, in_turn=True)
    why = "ProgramError: the process that agents are forked from ended with exit code -9: "
    assert (lost, errors) == (None, [why, ""]) and found and told == []


def test_children_end_when_nobody_hears_the_host(tmp_path):
    """As when the trainer was killed: the socket closes, with a child and its own child busy."""
    script = tmp_path / "agent.py"
    script.write_text(
        "import subprocess, sys, time\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print('ready', flush=True)\n"
        "time.sleep(600)\n"
    )
    ours, theirs = socket.socketpair()
    words = [sys.executable, fork_host.HOST, str(theirs.fileno()), "script", str(script)]
    with ours, subprocess.Popen(words, pass_fds=[theirs.fileno()]) as host:
        theirs.close()
        lines = ours.makefile("r")
        assert json.loads(lines.readline()) == {"threads": [], "failed": {}}
        request = {"number": 0, "words": [str(script)], "folder": str(tmp_path), "seed": 0}
        body = json.dumps({**request, "env": dict(os.environ)}).encode()
        read, write = os.pipe()
        empty = os.open(os.devnull, os.O_RDONLY)
        socket.send_fds(ours, [len(body).to_bytes(4, "big") + body], [empty, write, write])
        os.close(write)
        pid = json.loads(lines.readline())["pid"]
        said = os.fdopen(read)
        assert said.readline() == "ready\n"
        child = os.pidfd_open(pid)
        lines.close()
        ours.close()
        assert select.select([child], [], [], 60)[0] == [child]
        assert said.read() == ""  # its own child held it open, and ended too
        assert host.wait(60) == 0
        said.close()
        os.close(empty)
        os.close(child)


def test_a_start_that_is_given_up_leaves_nothing(tmp_path):
    """The run ends while the agent's imports are made, and while it is forked."""
    file = tmp_path / "agent.py"
    file.write_text("import time, beside\n")
    (tmp_path / "beside.py").write_text("")
    how = AgentCommand(command="python agent.py", folder=str(tmp_path))
    env = {**os.environ, "OPENAI_API_KEY": "token"}

    async def given_up(turns):
        host = fork_host.ForkHost(how)
        starting = asyncio.create_task(host.start(how.words(), tmp_path, env, "t"))
        for _ in range(turns):
            await asyncio.sleep(0)
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await host.aclose()
        return host._process, host._children

    for turns in (0, 1, 3, 10):
        assert asyncio.run(given_up(turns)) == (None, {})


PARTS = """
import kit
from asking import ask

def run(task, session):
    import kit.part  # as clients of endpoints do at their first use
    return ask(task.question)
"""


SLOW = "import time\ntime.sleep(1)\n"  # the next run is asked for while the host imports this


@pytest.mark.parametrize(
    ("more", "imports", "lines"), [("", 2, 0), (THREAD, 4, 1), (SLOW + THREAD, 4, 1)]
)
def test_what_the_first_run_imports_of_its_packages_is_imported_once(
    world, tmp_path, more, imports, lines
):
    """By that run and for all others; where it starts threads, these are new processes."""
    kit = tmp_path / "library" / "kit"
    kit.mkdir()
    (kit / "__init__.py").write_text("")
    (kit / "part.py").write_text(LIBRARY + more)
    answers, errors, told, made = world(PARTS, in_turn=True)
    assert errors == [""] * 3 and all(answers) and made == imports and len(told) == lines
    if more:
        assert told[0].endswith("what it imports starts threads (tracer)")


@pytest.mark.parametrize("files", [6, 8])
def test_a_fork_that_the_system_refuses_is_that_runs_error(world, files):
    """The head's import leaves the host too few open files: for what a run is given, for a pipe."""
    few = (
        LIBRARY + f"import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, ({files}, {files}))"
    )
    answers, errors, told, _ = world(AGENT, library_text=few, n=2)
    assert answers == [None, None] and told == []
    assert all(e.startswith("ProgramError: an agent was not forked: ") for e in errors)
    assert all(e.lower().endswith("too many open files") for e in errors)
