"""`hornbeam train --ranks 2`: the loop over two processes, one of them killed, then one alone."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hornbeam.store.database import Store

pytestmark = pytest.mark.timeout(600)  # processes of their own, each of which imports torch
RECIPE = """
[run]
steps = 400
tasks = 2
eval_every = 0
eval_start = false
checkpoint_every = 1
[model]
name = "tiny"
options = {width = 16}
[agents.seeker]
max_tokens = 4
[program]
name = "lookup"
[tools.lookup]
[[tasks.train]]
source = "lookup"
split = "train"
count = 16
[reward]
rule = "exact"
[grow]
strategy = "branch"
trunks = 2
nodes = 1
rounds = 1
[credit]
method = "grpo"
[loss]
kl = 0.01
[optim]
lr = 1e-3
"""


def start(folder, *more):
    recipe = folder / "small.toml"
    recipe.write_text(RECIPE)
    given = ["train", str(recipe), "--out", str(folder / "run"), *more]
    return subprocess.Popen(
        [sys.executable, "-m", "hornbeam.cli.main", *given],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def rank(launcher, number):
    """The process id of a rank."""
    for pid in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
        result = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        if f"RANK={number}".encode() in result:
            return int(pid)
    raise AssertionError(f"no rank {number} among the children of {launcher}")


def running(process):
    """Whether a process is there and no zombie."""
    try:
        return (process / "stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def until_it_goes_on(run):
    while not re.search("Going on from", run.stdout.readline()):
        assert run.poll() is None


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds ranks in /proc")
def test_ranks_end_together_in_one_line_and_one_process_goes_on(tmp_path):
    run = start(tmp_path, "--ranks", "2")
    try:
        while not list(tmp_path.glob("run/checkpoints/*/trainer.pt")):
            assert run.poll() is None, run.communicate()
            time.sleep(0.1)
        os.kill(rank(run.pid, 1), signal.SIGKILL)
        out, err = run.communicate(timeout=600)
    finally:
        run.kill()
    assert run.returncode == 2
    loading, line = err.strip().splitlines()
    assert loading.startswith("loading tiny")
    assert line.startswith("hornbeam: rank 1 of 2 was killed (signal 9;")
    again = start(tmp_path, "--ranks", "2")
    try:
        until_it_goes_on(again)
        again.stdout.readline()  # the first step
        again.send_signal(signal.SIGINT)
        out, err = again.communicate(timeout=600)
    finally:
        again.kill()
    assert again.returncode == 130 and "\nStopped." in err and err.count("loading") == 1, err
    left = start(tmp_path, "--ranks", "2")
    try:
        until_it_goes_on(left)
        ranks = [Path(f"/proc/{rank(left.pid, number)}") for number in range(2)]
    finally:
        left.kill()
    left.communicate(timeout=600)  # until nobody holds its pipes
    for _ in range(100):  # they end by themselves, a moment later where others compute
        if not any(running(process) for process in ranks):
            break
        time.sleep(0.1)
    assert not any(running(process) for process in ranks)
    with Store(tmp_path / "run", read_only=True) as store:
        done = len([row for row in store.metrics() if row["kind"] == "train"])
    alone = start(tmp_path, "--set", f"run.steps={done + 1}")
    out, err = alone.communicate(timeout=600)
    assert alone.returncode == 0, err
    assert "Going on from the checkpoint after step" in out
    with Store(tmp_path / "run", read_only=True) as store:
        rows = [row for row in store.metrics() if row["kind"] == "train"]
    assert [row["step"] for row in rows] == list(range(done + 1))
    assert all(row["updates"] == 1 and row["skipped_updates"] == 0 for row in rows)
    assert (tmp_path / "run" / "final" / "model.safetensors").is_file()
