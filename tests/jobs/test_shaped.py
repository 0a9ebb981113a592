"""Process rewards inside training: a guide judges what is grown, credit reads what it says."""

import asyncio
import json
import re

import pytest

from hornbeam.assembly.plan import plan
from hornbeam.credit import credit
from hornbeam.errors import RecipeError, StoreError
from hornbeam.jobs.train.training import Run
from hornbeam.recipe.recipe import load_recipe
from hornbeam.score.rules import said
from hornbeam.store.database import Store
from hornbeam.tree.nodes import Tree

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


def test_a_run_sets_outcome_and_format_against_the_group_one_by_one(world, tmp_path):
    """`gdpo` over what the reward is made of; node by node from the texts of the trees."""
    gdpo = ["credit.method=gdpo", "credit.weights={correct = 1.0, format = 0.5, value = 0.25}"]
    form = ["reward.format=left.middle.middle", "reward.format_penalty=0.2"]
    train(world, tmp_path / "run", *gdpo, *form)
    with Store(tmp_path / "run", read_only=True) as store:
        trees = [store.read(key).tree for key in store.keys("train")]
    for tree in trees:
        c = tree.columns
        for leaf in tree.leaves():
            good = bool(re.search("left.middle.middle", said(tree, leaf), re.DOTALL))
            assert c["format"][leaf] == good
            assert c["reward"][leaf] == pytest.approx(c["correct"][leaf] - 0.2 * (not good))
            assert c["correct"][leaf] in (0.0, 1.0) and c["value"][leaf] is not None
    assert {f for t in trees for f in t.columns["format"]} == {None, 0.0, 1.0}
    again = [Tree(t.task, t.nodes, dict(t.columns)) for t in trees]
    credit(again, "gdpo", weights={"correct": 1.0, "format": 0.5, "value": 0.25})
    assert [t.columns["advantage"] for t in again] == [t.columns["advantage"] for t in trees]


def test_weights_of_columns_that_nothing_writes_are_told_before_anything_runs(world, tmp_path):
    for column, result in {
        "judge": r"credit.weights.judge: no guide writes 'judge': add a table \[guides.judge\]",
        "format": r"credit.weights.format: set reward.format, which says what good form is",
    }.items():
        with pytest.raises(RecipeError, match=result):
            sets = ["credit.method=gdpo", f"credit.weights={{correct = 1.0, {column} = 1.0}}"]
            train(world, tmp_path / "run", *sets)
    assert not (tmp_path / "run").exists()
