"""Training whose growth a guide steers: values before branches, their cost, what is refused."""

import pytest

from hornbeam.errors import RecipeError, StoreError
from hornbeam.search import Branch, State
from hornbeam.store.database import Store
from hornbeam.tree.nodes import Tree

from .test_shaped import train

BRANCH = [
    "credit={method='tree_grpo'}",
    "grow={strategy='branch', trunks=2, nodes=2, pick='predicted_mixed'}",
]


def grown(path, step=None):
    with Store(path, read_only=True) as store:
        return [store.read(key).tree for key in store.keys("train", step)]


def test_branches_leave_where_the_value_model_is_least_sure(world, tmp_path):
    train(world, tmp_path / "run", *BRANCH)
    steered, how = 0, Branch(trunks=2, nodes=2, pick="predicted_mixed")
    for tree in grown(tmp_path / "run"):
        kept = [i for i, node in enumerate(tree.nodes) if not i or node.origin.episode < 2]
        assert kept == [*range(len(kept))] and None not in tree.columns["value"][1 : len(kept)]
        columns = {name: column[: len(kept)] for name, column in tree.columns.items()}
        trunks = Tree(tree.task, tree.nodes[: len(kept)], columns, tree.seed)
        ends = {node.origin.episode: i for i, node in enumerate(trunks.nodes) if i}
        forks = how.ask(trunks, State({0: 0, 1: 0}, ends))
        left = {n.origin.episode: n.parent for n in tree.nodes[len(kept) :] if not n.origin.step}
        assert {fork.episode: fork.node for fork in forks} == left
        steered += any(left.values())
    assert steered
    with Store(tmp_path / "run", read_only=True) as store:
        assert store.totals()["scorer_tokens"] > 0


def test_a_pick_without_its_guide_is_told_before_anything_runs(world, tmp_path):
    with pytest.raises(RecipeError, match=r"grow.column: no guide writes 'judge': add a table"):
        train(world, tmp_path / "run", *BRANCH, "grow.column=judge")
    assert not (tmp_path / "run").exists()


def test_a_run_does_not_go_on_by_another_guide(world, tmp_path):
    train(world, tmp_path / "run", *BRANCH)
    with pytest.raises(StoreError, match="guides"):
        train(world, tmp_path / "run", *BRANCH, "run.steps=2", "guides.value.kind=orm")
