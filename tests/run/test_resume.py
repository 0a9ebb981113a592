"""A run killed with SIGKILL ends, resumed, as one never stopped: bench/resume.py with one kill."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench" / "resume.py"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killed_and_resumed():
    command = [sys.executable, str(BENCH), "--kills", "1", "--seed", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
