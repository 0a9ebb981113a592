"""A run killed with SIGKILL ends, resumed, as promised: bench/resume.py with one kill a mode,
in the middle of growth.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench" / "resume.py"


@pytest.mark.timeout(300)
def test_killed_and_resumed(tmp_path):
    result = tmp_path / "told.json"
    command = [sys.executable, str(BENCH), "--rows", "120", "--json", str(result)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    trials = json.loads(result.read_text())["trials"]
    assert [trial["mode"] for trial in trials] == ["keep", "exact"]
    for trial in trials:
        (kill,) = trial["kills"]
        assert kill["moment"].startswith("growing") and kill["nodes"] > 0, kill
