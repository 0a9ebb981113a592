"""Guides by log-probs in jobs: they steer a search, shape credit, and are priors of a blame."""

import json
import math

import pytest

from hornbeam.assembly.guides import Guides
from hornbeam.errors import ModelError
from hornbeam.jobs.blame.guide_values import GUIDE
from hornbeam.models.tiny_model import tokenizer
from hornbeam.store.database import Store

from .doors import BEAM, SINGLE, points, recipe_of, search, stored
from .test_shaped import train

FIXED = {"kind": "likelihood", "join": "last", "chunk": 2}


def said(tree):
    return [i for i, node in enumerate(tree.nodes) if node.tokens and not node.error]


def test_a_log_ratio_to_the_policy_itself_is_nought_and_is_paid(world, tmp_path):
    ratio = {"kind": "log_ratio", "model": str(world.policy)}
    steers = {**BEAM, "name": "ratio", "column": "ratio", "choose": "likelihood"}
    chunks = {**BEAM, "name": "chunks", "column": "fixed", "choose": "likelihood"}
    guides = {"ratio": ratio, "fixed": FIXED}
    rows = points(search(world, tmp_path / "run", SINGLE, steers, chunks, guides=guides))
    assert rows["ratio", ""]["scorer_tokens"] > 0 == rows["chunks", ""]["scorer_tokens"]
    for tree in stored(tmp_path / "run", "ratio")[0]:
        values = [tree.columns["ratio"][i] for i in said(tree)]
        assert values == pytest.approx([0.0] * len(values), abs=1e-4)
    for tree in stored(tmp_path / "run", "chunks")[0]:
        for i in said(tree):
            told = [v for k in tree.path(i) for v in tree.nodes[k].logprobs][-2:]
            assert tree.columns["fixed"][i] == pytest.approx(sum(told) / len(told))


def test_a_log_ratio_shapes_credit(world, tmp_path):
    """The recipe's policy as it begins is the second model: the first step's ratios are 0."""
    table = f"guides.value={{kind='log_ratio', model='{world.policy}'}}"
    train(world, tmp_path / "run", table, "run.steps=2", "optim.lr=0.05", "sft.lr=1e-12")
    with Store(tmp_path / "run", read_only=True) as store:
        trees = {key: store.read(key).tree for key in store.keys("train")}
        assert store.totals()["scorer_tokens"] > 0
    for key, tree in trees.items():
        values = [abs(tree.columns["value"][i]) for i in said(tree)]
        assert (max(values) < 1e-4) == (key.step == 0)


def blamed(hornbeam, *words):
    code, err, out = hornbeam("blame", *words, "--json")
    assert code == 0, err
    return json.loads(out)["runs"][0]


def test_guides_of_the_recipe_are_priors_of_a_blame(world, hornbeam, tmp_path):
    labels = world.folder / "labels"
    for name, table, paid in (
        ("ratio", f"{{kind='log_ratio',model='{world.policy}',scale=1.0}}", True),
        ("sure", "{kind='likelihood',over='step',scale=1.0}", False),
    ):
        words = labels, "--forks", 12, "--guide", name, "--set", f"guides.{name}={table}"
        one = blamed(hornbeam, *words, "--out", tmp_path / name)
        assert (one["costs"].get("scorer_tokens", 0) > 0) == paid
        with Store(tmp_path / name, read_only=True) as store:
            (tree,) = [store.read(key).tree for key in store.keys(None)]
        path = [i for i in said(tree) if tree.nodes[i].origin.episode == 0]
        means = [sum(tree.nodes[i].logprobs) / len(tree.nodes[i].logprobs) for i in path]
        wanted = [0.5] * len(path) if paid else list(map(math.exp, means))
        assert [tree.columns[GUIDE][i] for i in path] == pytest.approx(wanted, abs=1e-4)


def test_a_prior_in_nats_is_refused(world, hornbeam):
    nats = "--guide", "sure", "--set", "guides.sure={kind='likelihood'}"
    code, err, _ = hornbeam("blame", world.folder / "labels", *nats)
    assert code == 2 and "--guide sure: its values are log-probs" in err.splitlines()[-1]


def test_a_second_model_of_another_tokenizer_is_refused(world):
    ratio = {"kind": "log_ratio", "model": str(world.policy)}
    recipe = recipe_of(world, SINGLE, guides={"ratio": ratio})
    with pytest.raises(ModelError, match=r"guides.ratio: .* reads with another tokenizer"):
        Guides(recipe, ["ratio"], tokenizer(["else"]))
    assert Guides(recipe, ["ratio"], tokenizer())["ratio"].column == "ratio"
