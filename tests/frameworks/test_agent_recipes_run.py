"""The recipes of frameworks run with those frameworks, by `.ci/agents` alone."""

import json
from pathlib import Path

import pytest

from frameworks.agents_table import ENVIRONMENTS

pytestmark = pytest.mark.skipif(not ENVIRONMENTS, reason="run by .ci/agents")
RECIPES = Path(__file__).parents[2] / "recipes"
# smolagents' own system prompt is longer than the window of the tiny model.
RUN = {"openai_agents": "first", "langgraph": "first", "pydantic_ai": "first"}
SMALL = ["model.name=tiny", "model.chat_template=tiny", "run.steps=1", "run.tasks=1"]
SMALL += ["tasks.eval.0.count=1", "grow.trunks=2", "agents.solver.max_tokens=16"]


@pytest.mark.parametrize("name", RUN)
def test_a_recipe_of_a_framework_runs(name, tmp_path, hornbeam):
    python = Path(ENVIRONMENTS, RUN[name], "bin", "python")
    sets = [word for each in SMALL for word in ("--set", each)]
    recipe, out = RECIPES / f"agent_{name}.toml", tmp_path / "run"
    more = ("--out", out, *sets, "--set", f"program.python={json.dumps(str(python))}")
    code, err, said = hornbeam("train", recipe, *more)
    assert code == 0, err + said
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text("utf-8").splitlines()]
    assert [row["failed"] for row in rows] == [0] * len(rows)
    assert all(row.get("kept_share", 1.0) == 1.0 for row in rows)
