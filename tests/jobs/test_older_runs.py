"""Runs that an earlier build wrote (0.1.0, format 1 of trees) open, go on, and are shown.

`data/older_run.tar.xz`: a run killed while step 4 of 4 grew; its checkpoint is that of step 2.
`data/older_pair.tar.xz`: two trainers on PostgreSQL killed in step 2 of 2; `store.sql` is a dump.
"""

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from hornbeam.store.shared_database import SharedStore
from hornbeam.tree.jsonl import read_trees, write_trees

DATA = Path(__file__).parent / "data"
pytestmark = pytest.mark.timeout(600)  # processes of their own, each of which imports torch


@pytest.fixture
def older(tmp_path):
    """The folder in which an archive of `data` was unpacked."""

    def unpack(name):
        with tarfile.open(DATA / f"{name}.tar.xz") as archive:
            archive.extractall(tmp_path, filter="data")
        return tmp_path

    return unpack


def start(folder, *words):
    command = [sys.executable, "-m", "hornbeam", *map(str, words)]
    out = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, stdout=out, stderr=subprocess.STDOUT, text=True)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_run_opens_and_goes_on(older, hornbeam):
    run = older("older_run") / "old_run"
    first = run.parent / "first.jsonl"
    assert hornbeam("export", run, "--out", first) == (0, "", f"28 trees: {first}\n")
    assert first.read_bytes() == (run / "trees.jsonl").read_bytes()
    code, out, said = hornbeam("view", run, "--tree", "train/2/1")
    assert code == 0 and "seeker" in said, out
    rows = lines(run / "metrics.jsonl")
    going = start(run.parent, "train", "tiny.toml", "--out", run)
    said = going.communicate()[0]
    assert going.returncode == 0, said
    assert "Going on from the checkpoint after step 2" in said
    assert "Training steps 3 to 3 again on their stored trees" in said
    after = lines(run / "metrics.jsonl")
    steps = [row for row in after if row["kind"] == "train"]
    assert {row["step"] for row in steps} == {0, 1, 2, 3}
    (old,) = (row for row in rows if (row["kind"], row["step"]) == ("train", 2))
    assert [row for row in rows if row not in after] == [old]  # trained again, and said to be
    (new,) = (row for row in steps if row["step"] == 2)
    assert new["redone_tokens"] > 0 and new["loss"] == pytest.approx(old["loss"], abs=1e-5)
    assert (run / "final" / "model.safetensors").is_file()
    assert hornbeam("view", run)[0] == 0 and (run / "report.html").stat().st_size > 5_000
    second = run.parent / "second.jsonl"
    assert hornbeam("export", run, "--out", second)[0] == 0
    ended = [
        [line for line in path.read_text().splitlines() if "train" in line]
        for path in (first, second)
    ]
    assert ended[1][:12] == ended[0][:12]


def test_a_tree_file_opens_and_is_written_again_as_it_was(older, tmp_path, hornbeam):
    file, again = older("older_run") / "old_run" / "trees.jsonl", tmp_path / "again.jsonl"
    write_trees(read_trees(file), again)
    assert again.read_bytes() == file.read_bytes()
    assert hornbeam("view", file)[0] == 0
    trees = [tree for tree in read_trees(file) if any(tree.columns.get("reward", ()))]
    write_trees(trees, again)
    credited = tmp_path / "credited.jsonl"
    assert hornbeam("credit", "tree_grpo", again, "--out", credited)[0] == 0
    assert len(lines(credited)) == len(trees) > 3


def test_trainers_of_a_postgresql_store_go_on(older, postgres, hornbeam):
    import psycopg

    folder, url = older("older_pair") / "old_pair", postgres.database()
    with psycopg.connect(url) as db:
        db.execute((folder / "store.sql").read_text())
    program = folder / "duet.py"  # it reads the tiny world, which stands elsewhere now
    program.write_text(program.read_text().replace("tasks.tiny", "tasks.lookup_world"))
    with SharedStore(url, print) as store:
        before = [store.read(key) for key in store.keys("train", 0)]
        assert len(before) == 4 and all(stored.done for stored in before)
        assert not all(store.read(key).done for key in store.keys("train", 1))
    words = ("train", "duet.toml", "--out", "run", "--store", url, "--set", "run.lease=1")
    both = [start(folder, *words, "--policy", name) for name in ("even", "odd")]
    for going in both:
        said = going.communicate()[0]
        assert going.returncode == 0, said
    with SharedStore(url, print) as store:
        assert [store.read(key).tree.nodes for key in store.keys("train", 0)] == [
            stored.tree.nodes for stored in before
        ]
        assert all(store.read(key).done for key in store.keys("train", 1))
        assert [row["step"] for row in store.metrics() if row["kind"] == "train"] == [0, 1]
    seen = folder / "seen"
    assert hornbeam("export", seen, "--store", url, "--stage", "train")[0] == 0
    assert len(lines(seen / "trees.jsonl")) == 8
    assert hornbeam("view", seen, "--store", url)[0] == 0
