"""Process rewards inside training: a guide judges what is grown, credit reads what it says."""

import asyncio
import json

import pytest

from hornbeam.errors import RecipeError, StoreError
from hornbeam.run import Run, plan
from hornbeam.run.recipe import load_recipe
from hornbeam.store import Store

from .doors import Silent

SHAPED = ["run.steps=1", "run.tasks=3", "credit.method=shaped", "grow.n=4"]


def train(world, path, *sets):
    recipe = load_recipe(world.recipe, [*SHAPED, *sets])
    asyncio.run(Run(recipe, plan(recipe, path.parent), path, Silent()).go())


def test_a_run_is_credited_by_what_a_value_model_says_of_its_steps(world, tmp_path):
    train(world, tmp_path / "run", "credit.weight=0.5")
    with Store(tmp_path / "run", read_only=True) as store:
        trees = [store.read(key).tree for key in store.keys("train")]
    assert len(trees) == 3
    for tree in trees:
        value, given = tree.columns["value"], tree.columns["advantage"]
        first = [value[i] for i in tree.children(0)]
        assert None not in value[1:] and len({*value[1:]}) > 1
        for leaf in tree.leaves():  # outcome's share: the same at every step of a chain
            path = tree.path(leaf)
            before = [sum(first) / len(first), *(value[i] for i in path)]
            share = [given[i] - 0.5 * (value[i] - v) for i, v in zip(path, before)]
            assert share == pytest.approx([share[0]] * len(share), abs=1e-6)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    (row,) = [row for row in rows if row["kind"] == "train"]
    assert row["scorer_tokens"] > 0


def test_a_column_that_no_guide_writes_is_told_before_anything_runs(world, tmp_path):
    with pytest.raises(RecipeError, match=r"no guide writes 'judge': add a table \[guides.judge\]"):
        train(world, tmp_path / "run", "credit.column=judge")
    assert not (tmp_path / "run").exists()


def test_a_run_does_not_go_on_with_another_guide(world, tmp_path):
    train(world, tmp_path / "run")
    with pytest.raises(StoreError, match="guides"):
        train(world, tmp_path / "run", "run.steps=2", 'guides.value.kind="likelihood"')
