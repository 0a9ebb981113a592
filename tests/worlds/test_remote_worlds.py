"""Sandboxes behind an HTTP interface: real forks, servers that fail, what is left behind."""

import os
import subprocess
import sys
import warnings

import pytest

from hornbeam.errors import RecipeError, ToolError, WorldError
from hornbeam.tree.task import Task
from hornbeam.worlds import E2bWorld, RemoteWorld
from hornbeam.worlds.held_names import HeldNames

from .sandbox_server import SandboxServer, forgotten
from .test_case import grown

TASK = Task("t", "?")
KEY = "e2b_0123"


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # where names that are held are written
    monkeypatch.setenv("KEY_OF_SANDBOXES", KEY)
    with SandboxServer(KEY) as server:
        yield server


def kind_of(server, **more):
    settings = {"timeout": 5, "seconds": 5, "key_env": "KEY_OF_SANDBOXES", **more}
    return E2bWorld(url=server.url, sandbox_url=server.url, **settings)


def note(text, world):
    return int(world.run(f"echo {text} >> notes; wc -l < notes").output)


def lines_of(tree):
    """The errors of leaves, where all others heard what a run alone hears."""
    leaves = [tree.nodes[leaf] for leaf in tree.leaves()]
    assert {str(leaf.answer) for leaf in leaves if not leaf.error} <= {"[1, 2, 3]"}
    return [leaf.error for leaf in leaves if leaf.error]


def test_a_fork_is_another_sandbox(server):
    kind = kind_of(server)
    world = kind.open(Task("t", "?", data={"world": {"deep/text": "hé\n"}}))
    assert (world.run("cat deep/text; echo x >&2; exit 3")) == world.run(
        "cat; echo x >&2; exit 3", stdin="hé\n"
    )
    assert world.read("deep/text") == "hé\n"
    taken = kind.snapshot(world)
    world.write("deep/text", "changed")
    other = kind.restore(taken.data, TASK)
    assert (other.read("deep/text"), world.read("deep/text")) == ("hé\n", "changed")
    assert kind.portable(other, f"at {other.name}") == "at sandbox"
    with pytest.raises(FileNotFoundError):
        other.read("gone")
    assert "bytes left out" in other.run("yes | head -c 100000").output
    with pytest.raises(ToolError, match=r"sleep took longer than 0\.2 s"):
        other.run("sleep 60", seconds=0.2)
    assert other.run("echo on").output == "on\n"  # it is still there
    for each in (world, other):
        kind.close(each)
    kind.drop(taken.data)
    forgotten()
    assert server.left == []


@pytest.mark.parametrize(
    ("pattern", "nth", "fault", "line"),
    [
        (r"/sandboxes$", 2, 500, r"/sandboxes answers 500: not now$"),
        (r"/sandboxes$", 2, 400, r"/sandboxes answers 400: not now$"),
        (r"/sandboxes$", 2, "drop", r"POST http.*/sandboxes: \w+Error "),
        (r"/sandboxes$", 2, "cut", r"POST http.*/sandboxes: \w+Error "),
        (r"/sandboxes$", 2, "no JSON", r"/sandboxes answers what is no JSON: no JSON$"),
        (r"/sandboxes$", 2, "[]", r"the service answers without a sandboxID: \[\]$"),
        (r"/sandboxes$", 2, '{"sandboxID": "../x"}', r"the service answers without a sandboxID"),
        (r"/snapshots$", 1, 500, r'answers 500: not now; world\.fork = "rerun" does without'),
        (r"/snapshots$", 1, "cut", r'snapshots: \w+Error .*; world\.fork = "rerun" does without'),
        (r"Start$", 4, 500, r"the sandbox answers 500: not now$"),
        (r"Start$", 4, "drop", r"the sandbox: \w+Error "),
        (
            r"Start$",
            4,
            "cut",
            r"the sandbox.* cut off before the command ended|the sandbox: \w+Err",
        ),
        (r"Start$", 4, "\0\0\0\0\1{", r"the sandbox answers "),
    ],
)
def test_a_service_that_fails_fails_the_leaf_alone(server, pattern, nth, fault, line):
    import re

    server.faults = [(pattern, "pass")] * (nth - 1) + [(pattern, fault)]
    kind = kind_of(server)
    (tree,) = grown({"note": note}, world=kind)
    failed = lines_of(tree)
    assert len(failed) == 1 and "\n" not in failed[0], failed
    assert failed[0].startswith("WorldError: ") and re.search(line, failed[0]), failed
    assert server.faults == []
    forgotten()
    assert server.left == []  # what was made in an answer that was lost, too


def test_a_service_that_hangs(server):
    kind = kind_of(server, timeout=0.3)
    world = kind.open(TASK)
    server.faults = [(r"/snapshots$", "hang"), (r"/snapshots$", "hang")]
    with pytest.raises(WorldError, match="snapshots: ReadTimeout"):
        kind.snapshot(world)
    kind.close(world)
    assert server.left == []


def test_what_was_refused_is_asked_again(server):
    later = (429, {"retry-after": "0"})
    server.faults = [(r"/sandboxes$", later), (r"/sandboxes$", (503, {})), (r"/snapshots$", later)]
    (tree,) = grown({"note": note}, world=kind_of(server))
    assert lines_of(tree) == [] and server.faults == []


def test_a_server_that_is_gone_fails_all_that_come_after(server):
    made = []

    def last(text, world):
        made.append(text)
        if len(made) == 4:
            server.stop()
        return note(text, world)

    (tree,) = grown({"note": last}, world=kind_of(server))
    failed = lines_of(tree)
    assert len(failed) == 2 and all(line.startswith("WorldError: ") for line in failed)
    assert all("\n" not in line for line in failed)


def test_a_sandbox_whose_answer_was_lost_is_used_no_more(server):
    kind = kind_of(server)
    world = kind.open(TASK)
    server.faults = [(r"Start$", "cut")]
    with pytest.raises(WorldError):
        world.run("echo x >> notes")
    seen = len(server.seen)
    for use in (
        lambda: world.run("true"),
        lambda: world.read("notes"),
        lambda: kind.snapshot(world),
    ):
        with pytest.raises(WorldError):
            use()
    assert len(server.seen) == seen
    kind.close(world)


def test_sandboxes_live_on_while_they_are_used(server):
    kind = kind_of(server, lifetime=1)
    world = kind.open(TASK)
    world.run("true")
    assert ("POST", f"/sandboxes/{world.name}/timeout") in [each[:2] for each in server.seen]
    kind.close(world)


def test_keys(server, monkeypatch, tmp_path):
    assert kind_of(server).beside(tmp_path) == kind_of(server)
    monkeypatch.setenv("WRONG_KEY", "e2b_wrong")
    with pytest.warns(UserWarning, match="all 3 episodes failed"):
        (tree,) = grown({"note": note}, world=kind_of(server, key_env="WRONG_KEY"))
    assert all(line.endswith("/sandboxes answers 401: Invalid API key") for line in lines_of(tree))
    assert "e2b_wrong" not in str(lines_of(tree))
    with pytest.raises(RecipeError, match=r"world\.key_env = 'NO_KEY': the key of http.* set it$"):
        kind_of(server, key_env="NO_KEY").beside(tmp_path)
    with pytest.raises(WorldError, match="is looked for in NO_KEY: set it"):
        kind_of(server, key_env="NO_KEY").open(TASK)
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or KEY not in file.read_text()


def test_a_template_of_the_task(server):
    kind = kind_of(server)
    with pytest.raises(WorldError, match="answers 404: template 'other' not found"):
        kind.open(Task("t", "?", data={"template": "other"}))


HOLDS = """
import os, signal, sys
from hornbeam.tree.task import Task
from hornbeam.worlds import E2bWorld
kind = E2bWorld(url=sys.argv[1], sandbox_url=sys.argv[1], key_env="KEY_OF_SANDBOXES")
world = kind.open(Task("t", "?"))
kind.snapshot(world)
if sys.argv[2] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("how", ["kill", "leave"])
def test_what_a_process_leaves_behind_is_ended(server, tmp_path, how):
    mine = kind_of(server).open(TASK)
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", HOLDS, server.url]
    for turn in (how, "leave"):
        done = subprocess.run([*command, turn], env=environment, capture_output=True, text=True)
        assert done.returncode == (-9 if turn == "kill" else 0), done.stderr
        if turn == "kill":
            assert len(server.left) == 3
    assert server.left == [mine.name]  # that of a living process stays
    assert len([*tmp_path.glob("hornbeam-sandboxes-*")]) == 1


def test_what_cannot_be_given_back_is_tried_by_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    dead = HeldNames("http://a")
    dead.add("sandbox", "one")
    dead.add("sandbox", "two")
    dead.remove("sandbox", "two")
    dead.end()
    found, mine, other = [], HeldNames("http://a"), HeldNames("http://b")

    def refused(kind, name):
        raise WorldError("no")

    mine.left_by_others(refused)
    other.left_by_others(lambda *held: found.append(held))
    assert found == []
    mine.left_by_others(lambda *held: found.append(held))
    assert found == [("sandbox", "one")]
    mine.left_by_others(lambda *held: found.append(held))
    assert len(found) == 1
    mine.end()
    other.end()
    assert not [*tmp_path.iterdir()]


class Lists:
    """A service of one's own, whose sandboxes are lists."""

    def __init__(self):
        self.here = {}

    def create(self, template):
        return self.put([template])

    def put(self, items):
        name = f"n{len(self.here)}"
        self.here[name] = items
        return name

    def exec(self, sandbox, command, stdin, seconds):
        self.here[sandbox].append(command)
        return len(self.here[sandbox])

    def snapshot(self, sandbox):
        return self.put([*self.here[sandbox]])

    def fork(self, snapshot):
        return self.snapshot(snapshot)

    def forget(self, snapshot):
        self.here[snapshot] = None

    destroy = forget


LISTS = Lists()


class ListWorld(RemoteWorld):
    def service(self):
        return LISTS


def test_a_service_of_ones_own():
    def count(text, world):
        return world.run(text) - 1

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (tree,) = grown({"note": count}, world=ListWorld(template="x"))
    assert lines_of(tree) == []
    forgotten()
    assert set(map(type, LISTS.here.values())) == {type(None)}
