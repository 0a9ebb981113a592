"""Worlds that cannot be opened, copied, or kept, and those that die: one line, at one leaf."""

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import hornbeam as hb
from hornbeam.chat import user
from hornbeam.errors import ArgumentError, RecipeError, ToolError, WorldError
from hornbeam.tree.task import Task
from hornbeam.worlds import FolderWorld, OwnWorld, PythonWorld, SandboxWorld, SqliteWorld
from hornbeam.worlds.folder_copy import copy_folder
from hornbeam.worlds.scratch import new_place
from hornbeam.worlds.shell_commands import namespaces

from .test_case import grown

TASK = Task("t", "?")


def errors(tree):
    """(episode, error) of each leaf."""
    leaves = [tree.nodes[leaf] for leaf in tree.leaves()]
    return sorted((leaf.origin.episode, leaf.error) for leaf in leaves)


def note(text, world):
    world.notes.append(text)
    return len(world.notes)


class Notes:
    def __init__(self):
        self.notes = []


class Locked(Notes):
    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()


class Breaks(Notes):
    forks, at = 0, 4

    def fork(self):
        Breaks.forks += 1
        if Breaks.forks == Breaks.at:
            raise OSError("no room\nat all")
        other = Breaks()
        other.notes = [*self.notes]
        return other


def test_a_world_that_cannot_be_copied_fails_the_forks_and_says_what_to_do():
    (tree,) = grown({"note": note}, world=Locked)
    trunk, *forks = errors(tree)
    assert trunk == (0, "")
    for _, line in forks:
        assert line.startswith("WorldError: the world, a Locked, cannot be copied (TypeError: ")
        assert "give its class fork()" in line and 'world.fork = "rerun"' in line
    (tree,) = grown({"note": note}, world=OwnWorld(fork="rerun").made_by(Locked))
    assert [line for _, line in errors(tree)] == [""] * 3


def test_a_world_that_fails_to_fork_fails_that_leaf_alone():
    Breaks.forks = 0  # snapshots at two steps of the trunk, and then the forks
    (tree,) = grown({"note": note}, world=Breaks)
    failed = [line for _, line in errors(tree) if line]
    assert failed == ["WorldError: the world cannot be forked: OSError: no room"]
    fine = [tree.nodes[i] for i in tree.leaves() if not tree.nodes[i].error]
    assert [leaf.answer for leaf in fine] == [[1, 2, 3]] * 2


def test_a_world_that_does_not_begin():
    def broken():
        raise ValueError("no")

    with pytest.warns(UserWarning, match="all 3 episodes failed"):
        (tree,) = grown({"note": note}, world=broken)
    assert {e for _, e in errors(tree)} == {
        "WorldError: the world cannot be opened: ValueError: no"
    }


@pytest.mark.parametrize("kind", [PythonWorld, FolderWorld, SqliteWorld])
def test_a_world_above_its_bound_fails_the_forks(kind):
    def write(text, world):
        if kind is PythonWorld:
            world["x"] = "x" * 20_000
        elif kind is FolderWorld:
            (world / "x").write_text("x" * 20_000)
        else:
            world.execute("CREATE TABLE IF NOT EXISTS t (x)")
            world.execute("INSERT INTO t VALUES (?)", ("x" * 20_000,))
        return 1

    (tree,) = grown({"note": write}, world=kind(most=10_000))
    trunk, *forks = errors(tree)
    assert trunk == (0, "")
    for _, line in forks:
        assert "world.most is 10,000" in line and "raise world.most" in line, line
    (tree,) = grown({"note": write}, world=kind(most=10_000, fork="rerun"))
    assert {line for _, line in errors(tree)} == {""}


def test_snapshots_that_fit_nowhere_are_calls_made_again():
    (tree,) = grown({"note": note}, world=OwnWorld(keep=0).made_by(Notes))
    assert [tree.nodes[leaf].answer for leaf in tree.leaves()] == [[1, 2, 3]] * 3


def test_a_call_that_gives_another_result_when_it_is_made_again_is_named():
    count = iter(range(100))

    def clock(text, world):
        return next(count)

    (tree,) = grown({"note": clock}, world=PythonWorld(fork="rerun"))
    lines = [line for _, line in errors(tree)]
    assert lines[0] == "" and all("made again in a fresh world, note with" in e for e in lines[1:])
    assert all("gave" in line and "the record has 0" in line for line in lines[1:])


def test_a_call_that_passed_its_time_leaves_a_world_that_nobody_knows():
    from hornbeam.grow.grower import Grower
    from hornbeam.grow.speakers import Speaker
    from hornbeam.store.keys import TreeKey
    from hornbeam.tree.nodes import Tree
    from hornbeam.workers.local_workers import LocalWorkers
    from hornbeam.worlds import Snapshots

    go = threading.Event()

    def hang(world):
        go.wait(30)

    async def program(task, ep):
        try:
            await ep.call("hang")
        except ToolError:
            await ep.ask("walker", [user("go on")])
        return await ep.call("hang")

    tools = LocalWorkers({"hang": hang}, seconds=0.05)
    speaker = {"walker": Speaker(hb.Scripted("a"))}
    grower = Grower(
        program, speaker, hb.Independent(n=1), tools=tools, worlds=Snapshots(PythonWorld())
    )
    tree = asyncio.run(grower.grow(TreeKey("a", 0, 0), Tree(TASK.to_json())))
    go.set()
    assert tree.nodes[-1].error == (
        "WorldError: hang took longer than 0.05 s, and may still change the world: nobody knows its"
        " state"
    )


def test_a_tool_that_acts_on_a_world_needs_one():
    with pytest.raises(
        ArgumentError, match=r"tool 'note' has a parameter `world`, and the run has"
    ):
        grown({"note": note})
    with pytest.raises(ArgumentError, match="grow_trees: world takes a kind of world"):
        grown({"note": note}, world=3)
    with pytest.raises(RecipeError, match="did you mean 'folder'"):
        grown({"note": note}, world="foldr")


# --- folders and commands -------------------------------------------------------------------------


@pytest.fixture
def folder():
    kind = FolderWorld(seconds=5)
    world = kind.open(Task("t", "?", data={"world": {"a/b.txt": "hello\n", "run.sh": "#!/bin/sh"}}))
    yield kind, world
    kind.close(world)
    assert not world.path.exists()


def test_copies_are_of_their_own_with_links_modes_and_times(folder):
    kind, world = folder
    (world / "run.sh").chmod(0o755)
    (world.path / "link").symlink_to("a/b.txt")
    os.utime(world / "a/b.txt", (1, 1))
    taken = kind.snapshot(world)
    other = kind.restore(taken.data, TASK)
    assert taken.size == len("hello\n#!/bin/sh")
    with (other / "a/b.txt").open("r+") as stream:  # in place
        stream.write("J")
    assert (world / "a/b.txt").read_text() == "hello\n"
    assert (taken.data / "a/b.txt").read_text() == "hello\n"
    assert (other.path / "link").is_symlink() and (other / "link").read_text() == "Jello\n"
    assert (other / "run.sh").stat().st_mode & 0o777 == 0o755
    assert (taken.data / "a/b.txt").stat().st_mtime == 1
    kind.drop(taken.data)
    kind.close(other)


def test_links_share_what_is_written_in_place_which_is_why_they_are_a_choice(folder):
    kind, world = folder
    linked = kind.model_copy(update={"copies": "links"})
    taken = linked.snapshot(world)
    (world / "a/b.txt").unlink()
    (world / "a/b.txt").write_text("new")  # replaced whole
    assert (taken.data / "a/b.txt").read_text() == "hello\n"
    with (world / "run.sh").open("a") as stream:
        stream.write("!")
    assert (taken.data / "run.sh").read_text() == "#!/bin/sh!"
    kind.drop(taken.data)


def test_what_no_copy_can_hold_is_named(folder, tmp_path):
    kind, world = folder
    os.mkfifo(world.path / "pipe")
    with pytest.raises(WorldError, match="pipe is a pipe, a socket or a device"):
        kind.snapshot(world)
    with pytest.raises(WorldError, match=r"cannot be copied: .*No such file"):
        copy_folder(tmp_path / "gone", tmp_path / "to", 10)
    assert not (tmp_path / "to").exists()
    (world.path / "pipe").unlink()
    with pytest.raises(PermissionError, match="outside of the folder"):
        world / "../../x"


def test_a_folder_that_a_tool_deletes_fails_its_run():
    def wipe(text, world):
        if len(calls) == 2:
            world.run('rm -rf "$PWD"')
        calls.append(text)
        world.run("true")
        return len(calls)

    calls = []
    (tree,) = grown({"note": wipe}, world=FolderWorld())
    lines = [line for _, line in errors(tree)]
    assert lines[0].startswith("WorldError: the world's folder runs no command: it is gone, a tool")


def test_results_name_no_folder(folder):
    kind, world = folder
    text = world.run("pwd; ls missing 2>&1; cat a/b.txt").output
    assert kind.portable(world, text).startswith(".\n") and "hello" in text


def test_what_a_command_leaves_running_is_ended(folder):
    _, world = folder
    mark = f"sleep 30.{os.getpid()}"
    ran = world.run(f"(setsid {mark} &) ; {mark} & echo done")
    assert (ran.output, ran.code) == ("done\n", 0)
    if namespaces():
        assert mark not in subprocess.run(["ps", "ax"], capture_output=True, text=True).stdout
    with pytest.raises(ToolError, match=r"sleep took longer than 0\.2 s"):
        world.run(mark, seconds=0.2)
    assert world.run("cat", stdin="in").output == "in"
    assert "bytes left out" in world.run("yes | head -c 100000").output


@pytest.mark.skipif(not namespaces(), reason="the kernel gives no namespaces")
def test_a_sandbox_has_limits_and_no_network():
    kind = SandboxWorld(memory_mb=300, file_mb=1, seconds=5)
    world = kind.open(TASK)
    eats = f"{sys.executable} -c 'x = bytearray(600_000_000)'"
    assert world.run(eats).code != 0 and "MemoryError" in world.run(eats).output
    world.run("head -c 3000000 /dev/zero > big")
    assert (world / "big").stat().st_size <= 1_000_000
    assert world.run("cat /proc/net/dev | grep -c :").output.strip() == "1"  # the loopback alone
    kind.close(world)


FULL = """
import errno, os, resource, sys
from pathlib import Path
from hornbeam.errors import WorldError
from hornbeam.tree.task import Task
from hornbeam.worlds import FolderWorld
kind = FolderWorld(scratch=sys.argv[1])
world = kind.open(Task("t", "?"))
for n in range(5):
    (world / f"{n}").write_bytes(bytes(50_000))
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
try:
    kind.snapshot(world)
except WorldError as error:
    print(error)
try:
    kind.open(Task("t", "?", data={"world": {"a": "x" * 50_000}}))
except OSError as error:
    print(os.strerror(error.errno))
print(len([*Path(sys.argv[1]).glob("*/*/w")]))
"""


def test_a_file_system_that_takes_no_more_leaves_nothing_half_written(tmp_path):
    done = subprocess.run([sys.executable, "-c", FULL, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, second, left = done.stdout.splitlines()
    assert first.startswith("the world's folder cannot be copied: ")
    assert first.endswith("File too large") and second == "File too large"
    assert left == "1"  # that of the world which is there


def test_a_budget_that_ends_in_the_middle_closes_all_worlds():
    from hornbeam.errors import BudgetSpent
    from hornbeam.store.ledger import Budget

    from .kinds import Forking, on_object

    def act(text, world):
        return on_object("add", text, world)

    for calls in range(1, 10):
        with pytest.raises(BudgetSpent, match=r"budget\.calls"):
            grown({"note": act}, world=Forking, budget=Budget(calls=calls))
        assert Forking.open == 0


def test_the_least_used_snapshot_goes_first_and_one_that_is_read_stays_till_then():
    from hornbeam.worlds import Snapshot, Snapshots

    class Listed(PythonWorld):
        def drop(self, data):
            dropped.append(data)

    dropped = []
    kept = Snapshots(Listed(keep=10))
    for name in "abc":
        kept.put(name, Snapshot(name, 3))
    kept.back(kept.take("a"))
    kept.put("d", Snapshot("d", 4))
    assert dropped == ["b"] and kept.size == 10 and "a" in kept
    read = kept.take("c")
    kept.put("e", Snapshot("e", 10))
    assert sorted(dropped) == ["a", "b", "d"] and kept.size == 10
    kept.back(read)
    assert dropped[-1] == "c"
    kept.put("f", Snapshot("f", 11))  # fits nowhere
    assert len(kept) == kept.size == 0 and dropped[-1] == "f"


def test_what_dead_processes_left_is_deleted_by_the_next(tmp_path):
    script = (
        "import os, sys; from hornbeam.worlds.scratch import new_place;"
        " print(new_place(sys.argv[1]), flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True)
    left = Path(done.stdout.strip())
    assert left.is_dir()
    mine = new_place(str(tmp_path))
    assert mine.is_dir() and not left.exists()
    again = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True)
    assert mine.is_dir() and again.stdout  # that of a living process stays


def test_a_transaction_that_is_left_open_fails_the_fork():
    def begin(text, world):
        if not world.connection.in_transaction:
            world.execute("BEGIN")
        return 1

    (tree,) = grown({"note": begin}, world="sqlite")
    trunk, *forks = errors(tree)
    assert trunk == (0, "")
    assert all("a transaction of the world's database is open" in line for _, line in forks)


def test_a_database_begins_as_file_and_task_say(tmp_path):
    (tmp_path / "start.sql").write_text("CREATE TABLE t (x); INSERT INTO t VALUES (1);")
    kind = SqliteWorld(file="start.sql").beside(tmp_path)
    task = Task("t", "?", data={"world": "INSERT INTO t VALUES (2)"})
    world = kind.open(task)
    assert world.execute("SELECT x FROM t ORDER BY x") == [[1], [2]]
    kept = tmp_path / "kept.db"
    kept.write_bytes(world.path.read_bytes())
    copy = SqliteWorld(file="kept.db").beside(tmp_path).open(task)
    assert copy.execute("SELECT count(*) FROM t") == [[3]]
    kind.close(world)
    kind.close(copy)
    with pytest.raises(WorldError, match="the script of the world's database: no such table: u"):
        kind.open(Task("t", "?", data={"world": "INSERT INTO u VALUES (2)"}))


def test_a_world_that_fails_to_end_harms_nobody():
    class Sticks(Notes):
        def fork(self):
            other = Sticks()
            other.notes = [*self.notes]
            return other

        def close(self):
            raise OSError("busy")

    (tree,) = grown({"note": note}, world=Sticks)
    assert [tree.nodes[leaf].answer for leaf in tree.leaves()] == [[1, 2, 3]] * 3
