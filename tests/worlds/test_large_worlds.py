"""Worlds that are large, and file systems that are full: one line, nothing half-written."""

import subprocess
import sys
from pathlib import Path

import pytest

from hornbeam.errors import WorldError
from hornbeam.tree.task import Task
from hornbeam.worlds import FolderWorld

TASK = Task("t", "?")
HERE = Path(__file__).parents[1]

STATE = """
import resource, threading
from hornbeam.errors import WorldError
from hornbeam.tree.task import Task
from hornbeam.worlds import PythonWorld

kind = PythonWorld(most=20_000_000)
world = kind.open(Task("t", "?"))
world |= {str(n): bytes(1_000_000) for n in range(300)}
if LOCK:
    world["lock"] = threading.Lock()  # no pickle: a copy by deepcopy
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    kind.snapshot(world)
except WorldError as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000)  # kilobytes
"""


@pytest.mark.parametrize("lock", [False, True])
def test_state_above_its_bound_is_not_copied(lock):
    script = STATE.replace("LOCK", str(lock))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    line, bounded = done.stdout.splitlines()
    assert line.startswith("the world is larger than it may be, world.most is 20,000,000 bytes: ")
    assert bounded == "True"


def test_a_file_of_five_gigabytes(tmp_path):
    kind = FolderWorld(scratch=str(tmp_path))
    world = kind.open(TASK)
    with (world / "large").open("wb") as file:
        file.write(b"head")
        file.seek(3_000_000_000)
        file.write(b"body")
        file.truncate(5_000_000_000)
    with pytest.raises(WorldError, match=r"holds over 4,999,999,999 bytes, world\.most is 1,0"):
        kind.snapshot(world)
    assert len([*tmp_path.glob("*/*/w")]) == 1
    kind = kind.model_copy(update={"most": 10_000_000_000})
    taken = kind.snapshot(world)
    assert taken.size == 5_000_000_000
    other = kind.restore(taken.data, TASK)
    about = (other / "large").stat()
    assert about.st_size == 5_000_000_000 and about.st_blocks * 512 < 1_000_000
    with (other / "large").open("rb") as file:
        assert file.read(8) == b"head\0\0\0\0"
        file.seek(3_000_000_000 - 4)
        assert file.read(12) == b"\0\0\0\0body\0\0\0\0"
    for each in (world, other):
        kind.close(each)
    kind.drop(taken.data)


FULL = """
import sys, tempfile, warnings
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from worlds.test_case import grown
from hornbeam.worlds import FolderWorld, SandboxWorld, SqliteWorld

scratch, calls = sys.argv[2], tempfile.NamedTemporaryFile()


def size():  # a fork's writes have no room, be they alone
    with open(calls.name, "ab") as told:
        told.write(b".")
        return 100_000 if told.tell() <= 3 else 500_000


def write(text, world):
    n = len([*world.path.iterdir()])
    (world / f"{n}").write_bytes(bytes(size()))
    return n + 1


def insert(text, world):
    world.execute("CREATE TABLE IF NOT EXISTS t (x)")
    world.execute(f"INSERT INTO t VALUES (zeroblob({size()}))")
    return world.execute("SELECT count(*) FROM t")[0][0]


for kind, act in ((FolderWorld, write), (SandboxWorld, write), (SqliteWorld, insert)):
    settings = {"network": True} if kind is SandboxWorld else {}
    Path(calls.name).write_bytes(b"")
    (tree,) = grown({"note": act}, world=kind(scratch=scratch, **settings))
    for leaf in tree.leaves():
        node = tree.nodes[leaf]
        print(kind.__name__, node.origin.episode, node.error or node.answer, sep="|")
    print(kind.__name__, "left", len([*Path(scratch).glob("*/*/*")]), sep="|")
"""


def mounted(folder, script, *words):
    """A script with a file system of 700 kB at the folder, or none where that cannot be."""
    mount = f'mount -t tmpfs -o size=700k none "{folder}" && exec "$@"'
    own = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh"]
    return [*own, sys.executable, "-c", script, *words]


def test_a_file_system_that_is_full(tmp_path):
    if subprocess.run(mounted(tmp_path, "pass"), capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    command = mounted(tmp_path, FULL, str(HERE), str(tmp_path))
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = [line.split("|", 2) for line in done.stdout.splitlines()]
    assert len(rows) == 12
    for kind in ("FolderWorld", "SandboxWorld", "SqliteWorld"):
        found = {name: said for each, name, said in rows if each == kind}
        assert found["0"] == "[1, 2, 3]" and found["left"] == "0"
        failed = [said for name, said in found.items() if name != "left" and said[0] != "["]
        assert failed, found
        for line in failed:  # of the fork, or of the tool where that is first
            assert line.startswith(("WorldError: ", "ToolError: ")), line
            assert line.endswith(("No space left on device", "database or disk is full")), line
