"""Runs that sample by packed weights: what the metrics tell, and what a resumed one repeats."""

import asyncio
import json

import pytest
import torch

from hornbeam.assembly.plan import plan
from hornbeam.engine.local.packed_weights import PACK, unfit
from hornbeam.jobs.train.training import Run
from hornbeam.models import tiny_model
from hornbeam.recipe.recipe import load_recipe
from hornbeam.train import weights

from .doors import Silent

RECIPE = """
run = {tasks = 6, resume = "exact", checkpoint_every = 1}
model = {name = "MODEL"}
agents = {seeker = {max_tokens = 6}}
program = {name = "lookup"}
tools = {lookup = {}}
reward = {rule = "exact"}
grow = {strategy = "branch", trunks = 8, nodes = 1, rounds = 1}
credit = {method = "grpo"}
loss = {old = "trainer", truncate = 1.0001}
optim = {lr = 3e-4}
sft = {count = 40, epochs = 4, lr = 5e-3}
[[tasks.train]]
source = "lookup"
count = 40
options = {depth = 2}
[[tasks.eval]]
source = "lookup"
split = "test"
count = 2
options = {depth = 2}
"""


@pytest.fixture
def trained(tmp_path):
    """Trains into a folder of a name; the rows of its steps, and its last weights."""
    tiny_model.make(tmp_path / "model", seed=3, width=256)  # layers that are worth a copy
    (tmp_path / "packed.toml").write_text(RECIPE.replace("MODEL", str(tmp_path / "model")))

    def train(name, steps, form):
        sets = (f"run.steps={steps}", f"engine.weights={form}")
        recipe = load_recipe(tmp_path / "packed.toml", sets)
        asyncio.run(Run(recipe, plan(recipe, tmp_path), tmp_path / name, Silent()).go())
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        rows = [row for row in map(json.loads, lines) if row["kind"] == "train"]
        model, _ = weights.load(tmp_path / name / "final")
        return rows, model.state_dict()

    return train


def test_the_gap_and_the_cut_weights_are_told_and_a_resumed_run_is_the_same(trained):
    form = next((f for f in PACK if not unfit(f, torch.device("cpu"))), None)
    if form is None:
        pytest.skip("this processor packs nothing")
    rows, whole = trained("whole", 2, form)
    assert all(0 < row["engine_gap"] < 0.1 for row in rows)
    assert all(0 < row["importance_outside"] < 1 for row in rows)
    assert all(0.8 < row["importance_mean"] < 1 for row in rows), "cut at 1, or a little above"
    trained("stopped", 1, form)
    again, resumed = trained("stopped", 2, form)
    assert [row["loss"] for row in again] == [row["loss"] for row in rows]
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    exact, _ = trained("exact", 1, "trained")
    assert exact[0]["engine_gap"] < 1e-4 < rows[0]["engine_gap"]
