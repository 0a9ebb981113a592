"""What programs and their processes print is no part of the results on standard output."""

import json
import subprocess
import sys

import pytest

RECIPE = """
[run]
steps = 1
[model]
name = "tiny"
options = {width = 16, layers = 1}
[agents.seeker]
max_tokens = 3
[program]
name = "loud.py:program"
[[tasks.train]]
source = "lookup"
split = "train"
count = 2
[[tasks.eval]]
source = "lookup"
split = "test"
count = 2
[reward]
rule = "exact"
[grow]
strategy = "independent"
n = 2
[credit]
method = "grpo"
[[search.methods]]
name = "votes"
strategy = "independent"
n = 2
"""
PROGRAM = """
import os

print("LOUD file")

async def program(task, ep):
    print("LOUD program")
    os.system("echo LOUD child")
    return (await ep.ask("seeker", [{"role": "user", "content": task.question}])).text
"""


@pytest.mark.parametrize(
    "words", ["eval loud.toml --json", "replay loud.toml --json", "search loud.toml --json"]
)
def test_standard_output_is_the_result_alone(words, tmp_path):
    (tmp_path / "loud.toml").write_text(RECIPE, "utf-8")
    (tmp_path / "loud.py").write_text(PROGRAM, "utf-8")
    command = [sys.executable, "-m", "hornbeam.cli.main", *words.split()]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert isinstance(json.loads(ran.stdout), dict)
    assert all(f"LOUD {who}" in ran.stderr for who in ("file", "program", "child"))
