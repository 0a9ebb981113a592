"""Runs that learn from a teacher along their trees: their costs, how they go on, errors."""

import json
import shutil

import pytest
import torch

from hornbeam.errors import ModelError, RecipeError, StoreError
from hornbeam.store.database import Store
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


def test_a_run_gets_nearer_to_its_teacher_and_its_reward_rises(world, tmp_path):
    rows = distilled(world, tmp_path / "run", "run.steps=16", "run.tasks=6", form="full")
    steps = [row for row in rows if row["kind"] == "train"]
    gaps, rewards = ([row[key] for row in steps] for key in ("teacher_gap", "reward_mean"))
    print("gap", gaps, "reward", rewards)
    assert sum(gaps[-4:]) < 0.5 * sum(gaps[:4])
    assert sum(rewards[-4:]) > sum(rewards[:4])
    assert all(row["teacher_tokens"] == row["tokens_unique"] for row in steps)
    with Store(tmp_path / "run", read_only=True) as store:
        assert store.totals()["teacher_tokens"] == sum(row["teacher_tokens"] for row in steps)


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


def test_teachers_that_cannot_be_are_one_line(world, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(world.policy, other)
    kept = json.loads((other / "tokenizer.json").read_text())
    vocabulary = kept["model"]["vocab"]
    first, last = list(vocabulary)[10], list(vocabulary)[-1]
    vocabulary[first], vocabulary[last] = vocabulary[last], vocabulary[first]
    (other / "tokenizer.json").write_text(json.dumps(kept))
    for teacher, error, line in (
        (str(other), ModelError, "its tokenizer is another than the policy's"),
        ("http://127.0.0.1:9/v1", RecipeError, "a server does not tell the log-probs"),
        (str(tmp_path / "none"), ModelError, "none"),
        ("tiny", ModelError, "tiny is made from nothing"),
    ):
        with pytest.raises(error, match=line) as told:
            distilled(world, tmp_path / "run", teacher=teacher)
        assert "\n" not in str(told.value)
