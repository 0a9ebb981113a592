"""The score is read at the same token in fitting and in search, whatever the path of the code.

The token is the last of the node's own sequence, its end token included. Every path is held against
the classifier's own plain forward there; a neighbouring token gives something else.
"""

import asyncio
import math

import pytest
import torch
from transformers import AutoModelForTokenClassification

from hornbeam.models import tiny_model
from hornbeam.score.prm import ValueGuide
from hornbeam.train.train_settings import FitSettings, LoraSettings, OptimSettings
from hornbeam.train.value import ValueModel
from train import value_worlds as worlds

TREES = [worlds.labelled(seed, nodes=14) for seed in range(3)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny value model with a random head."""
    base = tiny_model.make(tmp_path_factory.mktemp("base"), width=32)
    model = ValueModel.load(base)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        torch.nn.init.normal_(model.model.score.weight, std=0.2)
    made = tmp_path_factory.mktemp("made")
    model.save(made)
    return made


def at_places(folder, shift=0):
    """z of every node by `transformers` alone, read on the whole sequence of its longest leaf."""
    alone = AutoModelForTokenClassification.from_pretrained(folder).eval()
    out = []
    for tree in TREES:
        row = {}
        for i in worlds.readable(tree):
            longer = [*tree.sequence(i), 7, 8, 9]  # what follows makes no difference
            with torch.no_grad():
                logits = alone(input_ids=torch.tensor([longer])).logits
            row[i] = float(logits[0, tree.length(i) - 1 + shift, 0])
        out.append(row)
    return out


def first_loss(folder, packed, **how):
    """The loss that fitting tells before it has changed anything; z as the model reads it."""
    model = ValueModel.load(folder, optim=OptimSettings(packed=packed))
    settings = FitSettings(batch_size=len(TREES), lr=1e-9, **how)
    return next(model.fit(TREES, "q", settings))["loss"]


def losses(z):
    """What the losses are where z is read so; worked out here, by their formulas."""
    every = [(z[k][i], tree.columns["q"][i]) for k, tree in enumerate(TREES) for i in z[k]]
    ends = [
        (z[k][i], max(tree.columns["q"][i], 0.0))
        for k, tree in enumerate(TREES)
        for i in z[k]
        if tree.nodes[i].done
    ]
    differences = [
        (z[k][i] - z[k][j]) * (1 if tree.columns["q"][i] > tree.columns["q"][j] else -1)
        for k, tree in enumerate(TREES)
        for i in z[k]
        for j in z[k]
        if i < j
        and tree.nodes[i].parent == tree.nodes[j].parent
        and tree.columns["q"][i] != tree.columns["q"][j]
        and tree.nodes[i].tokens != tree.nodes[j].tokens
    ]
    probability = [(1 / (1 + math.exp(-x)), r) for x, r in ends]
    mse = [(math.tanh(x) - q) ** 2 for x, q in every]
    cross = [-(r * math.log(p) + (1 - r) * math.log(1 - p)) for p, r in probability]
    pair = [math.log1p(math.exp(-d)) for d in differences]
    return {
        "regression": sum(mse) / len(mse),
        "outcome": sum(cross) / len(cross),
        "pairs": sum(pair) / len(pair),
    }


def guided(folder, together):
    """What the guide says, asked for all at once or node by node as trees grow."""
    guide = ValueGuide(ValueModel.load(folder))
    nodes = [worlds.readable(tree) for tree in TREES]

    async def run():
        if together:
            return [t.values for t in await asyncio.gather(*map(guide.judge, TREES, nodes))]
        return [[(await guide.judge(t, [i])).values[0] for i in n] for t, n in zip(TREES, nodes)]

    result = asyncio.run(run())
    return [dict(zip(n, values)) for n, values in zip(nodes, result)]


def test_all_paths_read_the_same_token(folder):
    alone = at_places(folder)
    wanted, beside = losses(alone), losses(at_places(folder, shift=-1))
    for packed in (True, False):
        for objective in wanted:
            found = first_loss(folder, packed, objective=objective, loss="mse", pairs=1000)
            assert found == pytest.approx(wanted[objective], rel=1e-5), (packed, objective)
            assert abs(found - beside[objective]) > 1e-3  # the token before would not pass
    for together in (True, False):
        for result, z in zip(guided(folder, together), alone):
            assert result == pytest.approx({i: math.tanh(x) for i, x in z.items()}, abs=1e-5)
    loaded = ValueModel.load(folder)
    read = loaded.read([(tree, worlds.readable(tree)) for tree in TREES])
    for result, z in zip(read, alone):
        assert result == pytest.approx(list(z.values()), abs=1e-5)


def test_and_after_a_fit_with_adapters(folder, tmp_path):
    """What was fitted, saved and read by `transformers` alone is what search reads."""
    model = ValueModel.load(folder, lora=LoraSettings(rank=2))
    before = model.read([(tree, worlds.readable(tree)) for tree in TREES])
    list(model.fit(TREES, "q", FitSettings(epochs=3, lr=1e-2, batch_size=1)))
    after = model.read([(tree, worlds.readable(tree)) for tree in TREES])
    assert max(abs(a - b) for x, y in zip(before, after) for a, b in zip(x, y)) > 0.1
    model.save(tmp_path)
    for result, z in zip(after, at_places(tmp_path)):
        assert result == pytest.approx(list(z.values()), abs=1e-5)
    for result, z in zip(guided(tmp_path, True), at_places(tmp_path)):
        assert result == pytest.approx({i: math.tanh(x) for i, x in z.items()}, abs=1e-5)
