"""Runs that learn from a teacher along their trees: they go on to the same weights."""

import json
import shutil

import pytest
import torch

from hornbeam.errors import StoreError
from hornbeam.train.policy import STATE

from .test_shaped import train

SETS = (
    *("credit.method=grpo", "model.name=tiny", "model.options={width=32}", "run.seed=3"),
    *("sft.count=40", "sft.epochs=3", "optim.lr=0.005", "run.resume=exact"),
)


def distilled(world, path, *sets, **more):
    more = {"teacher": str(world.policy), "alone": True, **more}
    table = ", ".join(f"{key} = {json.dumps(value)}" for key, value in more.items())
    train(world, path, *SETS, f"loss.distill={{{table}}}", *sets)
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_a_run_that_goes_on_ends_with_the_same_weights_and_knows_its_teacher(world, tmp_path):
    teacher = tmp_path / "teacher"
    shutil.copytree(world.policy, teacher)
    sets = ("run.checkpoint_every=1", "run.tasks=2", "run.threads=1")
    distilled(world, tmp_path / "whole", *sets, "run.steps=2", teacher=str(teacher), alone=False)
    for steps in (1, 2):
        more = {"teacher": str(teacher), "alone": False}
        distilled(world, tmp_path / "parts", *sets, f"run.steps={steps}", **more)
    states = [
        torch.load(next((tmp_path / name / "checkpoints").glob(f"*2/{STATE}")), weights_only=True)
        for name in ("whole", "parts")
    ]
    assert states[0]["teacher"] == states[1]["teacher"] != ""
    whole, parts = (state["parameters"] for state in states)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    file = teacher / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-4] + b"\1\2\3\4")
    with pytest.raises(StoreError, match="was trained with another teacher"):
        distilled(world, tmp_path / "parts", *sets, "run.steps=3", **more)
