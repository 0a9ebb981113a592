"""Training whose growth a guide steers: values before branches, their cost, what is refused."""

import json

import pytest

from hornbeam.assembly.needed_columns import check_heads
from hornbeam.errors import HornbeamError, RecipeError, StoreError
from hornbeam.grow.growing_tree import Growth
from hornbeam.jobs.recipe_checks import check, check_search, check_training
from hornbeam.recipe.recipe import load_recipe
from hornbeam.search import Branch, State
from hornbeam.search.spread import branches
from hornbeam.store.database import Store
from hornbeam.train.pack import unique
from hornbeam.train.rows import Rows
from hornbeam.train.value_head import labelled
from hornbeam.train.value_rows import Reads
from hornbeam.tree.nodes import Node, Tree, ids

from .doors import BEAM, recipe_of
from .test_shaped import SHAPED, train

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
        assert kept == [*range(len(kept))]
        inner = [i for i in kept[1:] if not tree.nodes[i].done]
        assert None not in [tree.columns["value"][i] for i in inner]
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


HEAD = [
    *BRANCH, "guides.value={kind='value_head', every=2, epochs=2, lr=5e-3}", "grow.stop=0.1",
    "run.steps=5", "run.checkpoint_every=1", "run.keep=9",
]  # fmt: skip


def rows_of(path, kind="train"):
    rows = map(json.loads, (path / "metrics.jsonl").read_text().splitlines())
    return [row for row in rows if row["kind"] == kind]


def test_a_value_head_is_fitted_on_what_was_just_grown_and_its_cost_is_in_the_ledger(
    world, tmp_path
):
    train(world, tmp_path / "run", *HEAD)
    rows = rows_of(tmp_path / "run")
    assert ["fit_tokens" in row for row in rows] == [False, True, False, True, False]
    assert all(row["scorer_tokens"] > 0 for row in rows)
    with Store(tmp_path / "run", read_only=True) as store:
        fitted = store.totals()["fit_tokens"]
    assert fitted == sum(row.get("fit_tokens", 0) for row in rows)
    for step in range(5):
        for tree in grown(tmp_path / "run", step):
            value = tree.columns["value"]
            for i, node in enumerate(tree.nodes[1:], 1):
                read = node.origin.episode < 2 and not node.done and bool(node.tokens)
                assert (value[i] is not None) == (read and not node.error)
                if step < 2 and value[i] is not None:
                    assert value[i] == 0.0  # nothing is fitted yet
    late = [v for tree in grown(tmp_path / "run", 2) for v in tree.columns["value"][1:]]
    assert any(value for value in late if value is not None)
    # what a step cost to fit: the unique tokens of its trees and of those before, twice over
    trees = [*grown(tmp_path / "run", 0), *grown(tmp_path / "run", 1)]
    (first, *_) = [row["fit_tokens"] for row in rows if "fit_tokens" in row]
    labels = [labelled(tree) for tree in trees]
    reads = Reads()
    for tree in filter(None, labels):
        reads.add(tree, [i for i, n in enumerate(tree.columns["visits"]) if n])
    assert first == 2 * unique(Rows(reads.rows))


def test_a_stopped_run_goes_on_with_the_head_that_it_had(world, tmp_path):
    train(world, tmp_path / "whole", *HEAD)
    train(world, tmp_path / "cut", *HEAD, "run.steps=3")
    train(world, tmp_path / "cut", *HEAD)
    for step in range(5):
        cut, whole = (grown(tmp_path / name, step) for name in ("cut", "whole"))
        assert [t.columns["value"] for t in cut] == [t.columns["value"] for t in whole]
    assert [r.get("fit_loss") for r in rows_of(tmp_path / "cut")] == [
        r.get("fit_loss") for r in rows_of(tmp_path / "whole")
    ]


def test_a_head_of_a_checkpoint_is_a_value_model(world, tmp_path):
    train(world, tmp_path / "run", *HEAD)
    folder = tmp_path / "run" / "checkpoints" / "step-000005" / "guides" / "value"
    prm = f"guides.value={{kind='prm', model='{folder}'}}"
    train(world, tmp_path / "next", *HEAD, prm, "run.steps=1")
    values = [
        v for tree in grown(tmp_path / "next") for v in tree.columns["value"] if v is not None
    ]
    assert values and all(-1 <= v <= 1 for v in values)


@pytest.mark.parametrize(
    ("sets", "text"),
    [
        (["run.behind=1", "loss.old=trainer"], "run.behind = 0"),
        (["workers.kind=ray"], 'workers.kind = "local"'),
        (["engine={kind='chat', url='http://127.0.0.1:9/v1'}"], ""),
        (["guides.value.every=0"], "every"),
        (["guides.value.evry=2"], "'every'"),
        (["guides.value.model=tiny"], "'model'"),
    ],
)
def test_heads_that_cannot_be_fitted_are_told(world, tmp_path, sets, text):
    with pytest.raises(HornbeamError) as caught:
        recipe = load_recipe(world.recipe, [*HEAD, *sets])
        check(recipe)
        check_training(recipe, None)
    assert text in str(caught.value) and "\n" not in str(caught.value)


def test_heads_are_of_training_alone(world):
    recipe = recipe_of(world, BEAM, guides={"value": {"kind": "value_head"}})
    with pytest.raises(RecipeError, match=r"guides.value: .* is fitted while a run trains: name"):
        check_search(recipe)
    with pytest.raises(RecipeError, match="leave --policy out"):
        check_heads(load_recipe(world.recipe, [*SHAPED, *HEAD]), decoupled=True)


def test_labels_by_hand():
    #   0
    #   1      two of three leaves: 2 * 2/3 - 1      3 has none, 4: 1.0, 5: 0.0, 6: 1.2 counts as 1
    #  / \  .
    # 2   6    of 2: 1/2, so 0
    tree = Tree({"id": "q"})
    said = {"tokens": ids([1])}
    for parent in (0, 1, 2, 2, 2, 1):
        tree.append(Node(parent, **said))
    tree.column("reward")[4:] = [1.0, 0.0, 1.2]
    found = labelled(tree)
    assert found.columns["q"] == pytest.approx([None, 1 / 3, 0.0, None, 1.0, -1.0, 1.0])
    assert found.columns["visits"] == [0.0, 3.0, 2.0, 0.0, 1.0, 1.0, 1.0]
    assert tree.columns.keys() == {"reward"}
    tree.column("reward")[4:] = [None] * 3
    assert labelled(tree) is None


SPREAD = [
    *BRANCH, "grow.weight=8.0", "grow.spread=true", "run.steps=3", "run.tasks=4",
    "guides.value={kind='mine.py:value'}",
]  # fmt: skip
MINE = """
def value(tree, node):
    return 0.9 if len(tree.task["question"]) % 2 else 0.0
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A guide of one's own that takes some tasks for nearly solved."""
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)


def test_branches_are_spread_over_the_tasks_of_a_step(world, tmp_path, mine):
    train(world, tmp_path / "run", *SPREAD)
    how = Branch(trunks=2, nodes=2, pick="predicted_mixed", weight=8.0, spread=True)
    many = []
    for step in range(3):
        trees = sorted(grown(tmp_path / "run", step), key=lambda tree: tree.seed)
        given = [tree.columns["forks"][0] for tree in trees]
        assert given == branches(how, trees)  # what the trunks say still
        for tree, forks in zip(trees, given):
            episodes = {node.origin.episode for node in tree.nodes[1:]}
            assert episodes == set(range(2 + round(forks)))
        assert sum(given) <= 4 * 4 * 4
        many += given
    assert len(set(many)) > 1
    assert len(rows_of(tmp_path / "run")) == 3


@pytest.mark.parametrize("resume", ["keep", "exact"])
def test_a_step_that_is_stopped_is_spread_as_before(world, tmp_path, resume, monkeypatch, mine):
    sets = [*SPREAD, f"run.resume={resume}", "run.at_once=2", "engine.max_batch=1"]
    sets += ["engine.cache_tokens=0"]
    train(world, tmp_path / "whole", *sets)

    class Stop(Exception):
        pass

    real, seen = Growth.end, []

    def end(self):
        seen.append(self.key)
        if len(seen) == 14:  # in the second part of the second step
            raise Stop
        return real(self)

    monkeypatch.setattr(Growth, "end", end)
    with pytest.raises(Stop):
        train(world, tmp_path / "cut", *sets)
    monkeypatch.setattr(Growth, "end", real)
    train(world, tmp_path / "cut", *sets)
    for step in range(3):
        whole, cut = (grown(tmp_path / name, step) for name in ("whole", "cut"))
        assert [t.columns["forks"] for t in cut] == [t.columns["forks"] for t in whole]
        assert [[n.tokens for n in t.nodes] for t in cut] == [
            [n.tokens for n in t.nodes] for t in whole
        ]


def test_what_cannot_be_spread_is_told(world):
    recipe = load_recipe(world.recipe, [*SHAPED, *SPREAD, "workers.kind=ray"])
    with pytest.raises(RecipeError, match=r"grow.spread: one process grows"):
        check_training(recipe, None)
    method = {"name": "b", "strategy": "branch", "pick": "predicted_mixed", "spread": True}
    with pytest.raises(RecipeError, match="'b': spread is over the tasks of a training step"):
        check(recipe_of(world, method))
