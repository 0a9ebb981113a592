"""Runs that learn from a teacher along their trees: they go on to the same weights."""

import json
import shutil

import pytest
import torch

from hornbeam.errors import HornbeamError, ModelError, StoreError
from hornbeam.jobs.recipe_checks import check_training
from hornbeam.recipe.recipe import load_recipe
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


@pytest.mark.parametrize(
    ("teacher", "line"),
    [
        ("http://127.0.0.1:9/v1", "a server does not tell the log-probs of tokens"),
        ("no/such/folder", "no/such/folder"),
        ("tiny", "tiny"),
    ],
)
def test_a_teacher_that_cannot_be_is_told_before_anything_runs(world, tmp_path, teacher, line):
    recipe = load_recipe(world.recipe, [*SETS, f'loss.distill.teacher="{teacher}"'])
    with pytest.raises(HornbeamError, match=line) as raised:
        check_training(recipe, None)
    assert "\n" not in str(raised.value)


def test_a_teacher_that_reads_with_other_ids_is_named(world, tmp_path):
    teacher = tmp_path / "teacher"
    shutil.copytree(world.policy, teacher)
    path = teacher / "tokenizer.json"
    held = json.loads(path.read_text())
    words = held["model"]["vocab"]  # in the order of their ids
    words[-2], words[-1] = words[-1], words[-2]
    path.write_text(json.dumps(held))
    with pytest.raises(ModelError, match="its tokenizer is another than the policy's"):
        distilled(world, tmp_path / "run", "run.steps=1", teacher=str(teacher))


def test_a_policy_comes_nearer_to_its_teacher(world, tmp_path):
    """A student that was shown less than the teacher, which learned the same world."""
    sets = ("run.steps=8", "run.tasks=4", "run.threads=1", "model.name=tiny")
    rows = distilled(world, tmp_path / "run", *sets, "optim.lr=0.01")
    gaps = [row["teacher_gap"] for row in rows if row["kind"] == "train"]
    assert sum(gaps[-2:]) < 0.8 * sum(gaps[:2])
    assert all(row["teacher_tokens"] > 0 for row in rows if row["kind"] == "train")
