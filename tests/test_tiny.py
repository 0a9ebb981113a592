"""The whole loop on a tiny model: grow, score, credit, pack, step, load, grow again."""

import asyncio
from pathlib import Path

import pytest
import torch

from hornbeam.assembly.examples import demonstrations, examples
from hornbeam.assembly.loading import load_policies
from hornbeam.assembly.plan import plan
from hornbeam.assembly.policies import Policies
from hornbeam.assembly.world import World
from hornbeam.credit import credit, mixed
from hornbeam.recipe.recipe import Recipe
from hornbeam.store.database import TreeKey
from hornbeam.store.ledger import Ledger
from hornbeam.train.pack import packs, unique
from hornbeam.train.rows import collect
from hornbeam.tree.nodes import Tree

EASY = {"depth": 3, "signs": 4, "known": 0.75}
RECIPE = Recipe.model_validate(
    {
        "model": {"name": "tiny", "options": {"width": 32}},
        "agents": {"seeker": {"max_tokens": 4}},
        "program": {"name": "lookup"},
        "tools": {"lookup": {}},
        "tasks": {"train": [{"source": "lookup", "count": 40, "options": EASY}]},
        "reward": {"rule": "exact"},
        "grow": {"strategy": "branch", "trunks": 2, "nodes": 2, "rounds": 1},
        "credit": {"method": "tree_grpo"},
        "optim": {"lr": 1e-3},
        "sft": {"count": 40, "epochs": 36, "batch_size": 16, "lr": 5e-3},
        "engine": {"max_batch": 32},
    }
)
# Losses of the first 20 updates of the warm start, written down on 2026-11-21 (torch 2.13, CPU).
GOLDEN = [
    5.87698,
    5.43623,
    5.16129,
    4.89499,
    4.62606,
    4.39922,
    4.07563,
    3.79946,
    3.52696,
    3.23622,
    2.97566,
    2.716,
    2.44086,
    2.26407,
    1.99006,
    1.81446,
    1.67879,
    1.51415,
    1.38921,
    1.3151,
]


@pytest.fixture(scope="module")
def made():
    return plan(RECIPE, Path())


@pytest.fixture(scope="module")
def warm(made, tmp_path_factory):
    """(folder of the warm-started weights, losses on the way there)."""
    folder = tmp_path_factory.mktemp("tiny")
    (member,) = load_policies(RECIPE, folder / "model", print)
    policy, chat = member.policy, member.engine.chat
    shown = demonstrations(made.train.tasks, made.demonstration, RECIPE.sft.count)
    given = [example for turns in shown for example in examples(turns, chat)]
    losses = [result["loss"] for result in policy.fit(given, RECIPE.sft)]
    policy.save(folder / "warm")
    return folder / "warm", losses


def grow(world, ledger, step, tasks):
    grower = world.grower(ledger, None)
    starts = [
        (TreeKey("train", step, n), Tree(task.to_json(), seed=100 * step + n))
        for n, task in enumerate(tasks)
    ]
    return asyncio.run(grower.grow_all(starts))


def leaves(trees):
    return [(tree, i) for tree in trees for i in tree.leaves()]


def test_the_warm_start_follows_the_golden_curve(warm):
    assert warm[1][:20] == pytest.approx(GOLDEN, rel=1e-2)


def test_grow_score_credit_pack_step_load_and_grow_again(made, warm, tmp_path):
    (member,) = policies = Policies(RECIPE, {"": warm[0]})
    policy = member.policy
    world, ledger = World.build(RECIPE, made, policies), Ledger()
    tasks = made.train.tasks[:8]

    trees = grow(world, ledger, 0, tasks)
    assert all(len(tree.leaves()) == 6 for tree in trees)
    assert all(tree.nodes[i].done and not tree.nodes[i].error for tree, i in leaves(trees))
    for tree, i in leaves(trees):
        found = tree.nodes[i].answer == tree.task["answer"]
        assert tree.columns["reward"][i] == float(found)

    credit(trees, made.credit)
    assert mixed(trees).mixed >= 2
    for tree in trees:
        assert sum(tree.columns["advantage"][i] for i in tree.leaves()) == pytest.approx(0)

    rows = collect(trees)
    assert unique(rows) < rows.flat / 2
    sampled = sum(len(node.tokens) for tree in trees for node in tree.nodes)
    assert sum(len(pack.token) for pack in packs(rows, 4096, packed=True)) == sampled
    assert ledger.totals["sampled_tokens"] == sampled

    before = {name: weight.clone() for name, weight in policy.weights().items()}
    metrics = policy.step(trees)
    assert metrics["updates"] == 1 and metrics["skipped_updates"] == 0
    assert metrics["ratio_mean"] == pytest.approx(1, abs=1e-3)  # the engine's log-probs are ours
    after = policy.weights()
    assert any(not torch.equal(before[name], after[name]) for name in before)

    asyncio.run(policies.load())
    again = grow(world, ledger, 1, tasks)
    assert {node.origin.version for tree in again for node in tree.nodes[1:]} == {policy.version}
    asyncio.run(world.aclose())

    policy.save(tmp_path / "final")
    other = World.build(RECIPE, made, Policies(RECIPE, {"": tmp_path / "final"}))
    same = grow(other, Ledger(), 1, tasks)
    asyncio.run(other.aclose())
    words = [[node.text for node in tree.nodes] for tree in same]
    assert words == [[node.text for node in tree.nodes] for tree in again]
