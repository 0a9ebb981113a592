"""A run that is killed leaves no agent behind, and none of their folders."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

RUN = Path(__file__).with_name("ending_run.py")


def of(mark):
    """Processes that have this in the environment that they began with."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"MARK={mark}\0".encode() in path.read_bytes():
                found.add(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="found by what Linux tells of processes")
@pytest.mark.parametrize("start", ["fork", "process"])
def test_a_run_that_is_killed_leaves_nothing(tmp_path, start):
    mark = f"{os.getpid()} {start}"
    env = {**os.environ, "MARK": mark, "TMPDIR": str(tmp_path)}
    run = subprocess.Popen([sys.executable, RUN, start], env=env, stdout=subprocess.DEVNULL)
    # Each of the two agents says in a file of its folder that it and its child are there.
    while len(list(tmp_path.glob("*/*/here"))) < 2:
        assert run.poll() is None
        time.sleep(0.02)
    assert len(of(mark)) >= 6  # the run, its watchdog, two agents with a child each
    run.send_signal(signal.SIGKILL)
    run.wait()
    while of(mark) or list(tmp_path.iterdir()):  # else this test does not end
        time.sleep(0.02)
