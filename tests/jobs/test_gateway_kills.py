"""Two kills of a trainer, and of an agent (bench/gateway_kills.py)."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench" / "gateway_kills.py"


@pytest.mark.timeout(600)
@pytest.mark.skipif(sys.platform != "linux", reason="what is left behind is found on Linux alone")
@pytest.mark.parametrize(
    ("victim", "good"),
    [("trainer", "as_undisturbed"), ("agent", "one_leaf_failed")],
)
def test_killed_at_random_moments(tmp_path, victim, good):
    result = tmp_path / "told.json"
    command = [sys.executable, str(BENCH), "--victims", victim, "--kills", "2"]
    done = subprocess.run(
        [*command, "--json", str(result)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(result.read_text())[victim]
    assert found["kills"] == found[good] == 2
