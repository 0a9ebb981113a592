"""Growth that is killed at calls of its tools, again and again, gives the undisturbed tree."""

import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from hornbeam.tree.jsonl import from_json

from .killed_growth import grow
from .kinds import check
from .sandbox_server import shared_server

KILLS = int(os.environ.get("HORNBEAM_KILLS", "3"))  # of each of seven
ME = Path(__file__).with_name("killed_growth.py")


@pytest.mark.timeout(120 + 60 * KILLS)
@pytest.mark.parametrize(
    ("kind", "strategy"),
    [
        ("python", "branch"),
        ("folder", "mcts runs"),
        ("sqlite", "beam"),
        ("forking", "branch"),
        ("worktree", "branch"),
        ("sandbox", "dvts"),
        ("e2b", "branch"),
    ],
)
def test_a_killed_growth_goes_on_in_worlds_of_its_own(tmp_path, kind, strategy):
    whole = grow(tmp_path / "whole", kind, strategy, 0)
    draw, kills = Random(f"{kind} {strategy}"), 0
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    url = shared_server().url if kind == "e2b" else ""
    environment = {**os.environ, "TMPDIR": str(scratch), "URL_OF_SANDBOXES": url}
    for run in range(KILLS + 1):
        while True:
            at = draw.randint(2, 9) if kills < KILLS else 0
            command = [
                sys.executable,
                str(ME),
                str(tmp_path / f"run {run}"),
                kind,
                strategy,
                str(at),
            ]
            done = subprocess.run(command, capture_output=True, text=True, env=environment)
            if done.returncode == 0:
                break
            assert done.returncode == -9, done.stderr
            kills += 1
        resumed = json.loads(done.stdout)
        check(from_json(resumed))
        assert resumed == json.loads(json.dumps(whole))
        if kills == KILLS:
            break
    assert kills == KILLS
    assert not [*scratch.glob("hornbeam-*")]  # what the killed left is gone too
    # but a sandbox that was being made then: nobody knows its name, and it ends by its time-out
    assert not url or shared_server().forgotten() <= kills
