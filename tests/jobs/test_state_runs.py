"""Runs that are credited by states: nodes say theirs, the credit reads it, wrong keys are told."""

import asyncio

import pytest

from hornbeam.assembly.plan import plan
from hornbeam.credit import credit
from hornbeam.errors import RecipeError
from hornbeam.jobs.train.training import Run
from hornbeam.recipe.recipe import load_recipe
from hornbeam.store.database import Store

from .doors import Silent

STEP = ["run.steps=1", "run.tasks=2", "grow.n=4", "guides={}"]


def trained(world, path, *sets):
    recipe = load_recipe(world.recipe, [*STEP, *sets])
    asyncio.run(Run(recipe, plan(recipe, path.parent), path, Silent()).go())
    with Store(path, read_only=True) as store:
        return [store.read(key).tree for key in store.keys("train")]


@pytest.mark.parametrize("name", ["gigpo", "hgpo", "rtmc", "state_gae"])
def test_a_run_is_credited_by_the_states_of_its_steps(world, tmp_path, name):
    trees = trained(world, tmp_path / "run", f"credit.method={name}")
    assert len(trees) == 2
    for tree in trees:
        first = {tree.nodes[i].state for i in tree.children(0)}
        assert len(first) == 1 and "" not in first  # all were told the same question
    given = [list(tree.columns["advantage"]) for tree in trees]
    credit(trees, name)
    assert [tree.columns["advantage"] for tree in trees] == given


def test_a_run_keeps_states_where_it_is_told_to(world, tmp_path):
    (tree, _) = trained(world, tmp_path / "run", "credit.method=grpo", "state.key=prompt")
    assert all(node.state for node in tree.nodes[1:] if node.tokens)
    (tree, _) = trained(world, tmp_path / "other", "credit.method=grpo")
    assert not any(node.state for node in tree.nodes)


@pytest.mark.parametrize(
    "sets, told",
    [
        (["state.key=observations"], "did you mean 'observation'"),
        (["state.key=world"], 'state.key = "world": no tool acts on a world'),
        (["state.key=prompt", "state.mark=1"], r"\[state\] has no key 'mark': known: key"),
        (["state.kex=prompt"], r"\[state\] has no key 'kex': did you mean 'key'"),
        (["state.key=mine.py:none"], "mine.py"),
    ],
)
def test_wrong_keys_are_told_before_anything_runs(world, tmp_path, sets, told):
    with pytest.raises(RecipeError, match=told):
        trained(world, tmp_path / "run", *sets)
    assert not (tmp_path / "run").exists()
