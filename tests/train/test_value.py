"""A value model: losses by hand, packed = flat, bad input, what is saved."""

import json
import math
import random

import pytest
import torch

from hornbeam.errors import DataError, ModelError
from hornbeam.models import tiny_model
from hornbeam.train import value_losses
from hornbeam.train.train_settings import FitSettings, LoraSettings, OptimSettings
from hornbeam.train.value import ValueModel
from hornbeam.train.value_rows import auc, drawn, pairs, ranks, spearman, targets
from hornbeam.tree.nodes import Node, Tree, ids
from train import value_worlds as worlds

TREES = [worlds.labelled(seed, nodes=12) for seed in range(4)]


def little(q, visits=None, done=()):
    """A question, three steps under it, two under the first of these."""
    tree = Tree({"id": "little"})
    for i, parent in enumerate((0, 0, 0, 1, 1), 1):
        prompt = ids([1, 2]) if parent == 0 else ids()
        tree.append(Node(parent, prompt=prompt, tokens=ids([2 + i]), done=i in done))
    tree.columns["q"] = q
    if visits:
        tree.columns["visits"] = visits
    return tree


# --- targets, pairs, figures by hand -------------------------------------------------------------


def test_targets_by_hand():
    tree = little([0.5, 0.1, None, -1.0, 0.2, 1.0], [9, 4, 2, 0, 1, 3], done={3, 5})
    assert targets(tree, "q", FitSettings()) == [(1, 0.1, 1), (3, -1.0, 1), (4, 0.2, 1), (5, 1, 1)]
    weighed = targets(tree, "q", FitSettings(by_visits=True))
    assert weighed == [(1, 0.1, 4), (4, 0.2, 1), (5, 1.0, 3)]  # node 3 was never visited
    ends = targets(tree, "q", FitSettings(objective="outcome"))
    assert ends == [(3, 0.0, 1), (5, 1.0, 1)]


def test_pairs_by_hand():
    tree = little([None, 0.1, 0.5, 0.10000000149, -1.0, None])  # 0.1 in float32
    assert pairs(tree, "q") == [(2, 1), (2, 3)]  # equal targets and a missing one make no pair
    tree.columns["visits"] = [5, 1, 1, 0, 1, 1]
    assert pairs(tree, "q") == [(2, 1)]
    assert len(drawn([(i, i + 1) for i in range(20)], 8, random.Random(0))) == 8


def test_losses_by_hand():
    z = torch.tensor([0.0, math.atanh(0.5)])
    target, weight = torch.tensor([1.0, -1.0]), torch.tensor([0.25, 0.75])
    mse = value_losses.regression_loss(z, target, weight, "mse")
    assert float(mse) == pytest.approx(0.25 * 1 + 0.75 * 2.25)
    huber = value_losses.regression_loss(z, target, weight)
    assert float(huber) == pytest.approx(0.25 * 0.5 + 0.75 * (1.5 - 0.5))
    z = torch.tensor([0.0, math.log(3)])
    outcome = value_losses.outcome_loss(z, torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.5]))
    assert float(outcome) == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(4))
    pair = value_losses.pair_loss(torch.tensor([math.log(3), 0.0]), torch.tensor([0.0, 0.0]))
    assert float(pair) == pytest.approx(0.5 * math.log(4 / 3) + 0.5 * math.log(2))


def test_figures_by_hand():
    assert ranks([5, 1, 5, 7]) == [2.5, 1, 2.5, 4]
    assert spearman([1, 2, 3], [10, 100, 1000]) == pytest.approx(1)
    assert spearman([1, 2, 3], [1, 3, 2]) == pytest.approx(0.5)
    assert spearman([1, 1], [1, 2]) is None
    assert auc([0.9, 0.5, 0.5, 0.1], [True, True, False, False]) == pytest.approx(3.5 / 4)
    assert auc([1.0], [True]) is None


# --- packed = flat = cut -------------------------------------------------------------------------


@pytest.mark.parametrize("objective", ["regression", "pairs", "outcome"])
@pytest.mark.parametrize("by_visits", [False, True])
def test_packed_is_flat_is_cut(objective, by_visits):
    """Equal losses and gradient norms, whether one pass holds all trees, one leaf or a bit."""
    how = FitSettings(
        objective=objective, by_visits=by_visits, batch_size=2, epochs=2, lr=1e-3, pairs=4
    )
    ways = [{}, {"packed": False}, {"max_pack_tokens": 20}, {"checkpointing": True}]
    result = []
    for way in ways:
        model = worlds.value_model(optim=OptimSettings(**way))
        result.append(list(model.fit(TREES, "q", how)))
    assert len(result[0]) == 4
    for other in result[1:]:
        for a, b in zip(result[0], other, strict=True):
            assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)
            assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-4)
            assert a["tokens_unique"] == b["tokens_unique"] < a["tokens_flat"] == b["tokens_flat"]


@pytest.mark.parametrize("objective", ["regression", "pairs", "outcome"])
@pytest.mark.parametrize("lora", [None, LoraSettings(rank=4)])
def test_it_learns_its_trees(objective, lora):
    trees = [worlds.labelled(seed, nodes=12) for seed in range(4)]
    for tree in trees:  # a step is as good as its last token says
        tree.columns["q"] = [
            (2 * node.tokens[-1] - 3) / 4 if node.tokens else None for node in tree.nodes
        ]
    model = worlds.value_model(std=0.01, lora=lora)
    how = FitSettings(objective=objective, epochs=30, batch_size=2, lr=1e-2, pairs=100)
    before = model.evaluate(trees, "q", how)
    list(model.fit(trees, "q", how))
    after = model.evaluate(trees, "q", how)
    figure = "pair_accuracy" if objective == "pairs" else "auc"
    assert after[figure] > 0.9 > before[figure]
    if objective != "pairs":
        assert after["mse"] < 0.5 * after["variance"]


def test_visits_weigh_targets():
    tree = little([None, 0.1, 0.5, 0.3, -1.0, 0.2], [9, 4, 2, 0, 1, 3])
    how = {"loss": "mse", "lr": 1e-9}
    for by_visits, wanted in (
        (True, (4 * 0.01 + 2 * 0.25 + 1 * 1 + 3 * 0.04) / 10),
        (False, (0.01 + 0.25 + 0.09 + 1 + 0.04) / 5),
    ):
        model = worlds.value_model(std=0.0)  # z = 0, so the loss is the mean of q squared
        (result,) = model.fit([tree], "q", FitSettings(by_visits=by_visits, **how))
        assert result["loss"] == pytest.approx(wanted)


def test_equal_seeds_give_equal_weights_and_other_seeds_others():
    def weights(seed):
        model = worlds.value_model(seed=seed)
        list(model.fit(TREES, "q", FitSettings(batch_size=1, lr=1e-2)))
        return torch.cat([p.detach().flatten() for p in model.model.parameters()])

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


def test_only_adapters_and_head_learn():
    model = worlds.value_model(lora=LoraSettings(rank=2))
    before = {n: p.detach().clone() for n, p in model.model.named_parameters()}
    list(model.fit(TREES, "q", FitSettings(epochs=2, lr=1e-2)))
    moved = {n for n, p in model.model.named_parameters() if not torch.equal(p, before[n])}
    assert {"score.weight", "score.bias"} < moved
    assert all(".lora_" in name for name in moved - {"score.weight", "score.bias"})


def test_updates_that_are_not_finite_are_skipped():
    model = worlds.value_model()
    with torch.no_grad():
        model.model.score.weight.fill_(math.inf)
    (result,) = model.fit(TREES, "q", FitSettings(batch_size=4))
    assert (result["updates"], result["skipped_updates"]) == (0, 1)


# --- bad input -----------------------------------------------------------------------------------

EVERY = [None, 0.1, 0.2, 0.3, 0.4, 0.5]


def texts(*said):
    """Sibling steps of text alone, as other tools write them."""
    tree = Tree({"id": "little"})
    for place, text in enumerate(said):
        tree.append(Node(0, text=text, done=True))
        tree.column("q")[-1] = float(place)
    return tree


@pytest.mark.parametrize(
    ("tree", "how", "message"),
    [
        (little([None, 0.1, math.nan, 0, 0, 0]), {}, "node 2: 'q' is nan: not a number to fit"),
        (little([None, 0.1, math.nan, 0, 0, 0]), {"objective": "pairs"}, "node 2: 'q' is nan"),
        (little([0.5] + [None] * 5), {}, "column 'q' holds no target at a step"),
        (little(EVERY), {"objective": "outcome"}, "no target where an episode ended"),
        (little([None] + [0.5] * 5), {"objective": "pairs"}, "no two siblings differ in 'q'"),
        (little([None, 2.0, 0, 0, 0, 0]), {}, r"node 1: 'q' is 2.0: values lie in \[-1, 1\]"),
        (texts("four", "five"), {}, "its 2 steps .* hold text, but no token ids.*--model"),
        (texts("four", "five"), {"objective": "pairs"}, "hold text, but no token ids"),
        (texts("four", "five"), {"objective": "outcome"}, "hold text, but no token ids"),
        (texts("", ""), {}, "hold neither text nor token ids"),
        (little(EVERY), {"by_visits": True}, "no column 'visits' to weigh by"),
    ],
)
def test_targets_that_are_none_are_one_line(tree, how, message):
    with pytest.raises(DataError, match=r"^task 'little'.*" + message) as result:
        list(worlds.value_model().fit([tree], "q", FitSettings(**how)))
    assert "\n" not in str(result.value)


def test_no_such_column_and_no_trees():
    message = (
        r"^task 'q0': no column 'label' to fit on; columns: 'q', 'visits': .hornbeam label RULE"
    )
    with pytest.raises(DataError, match=message):
        list(worlds.value_model().fit(TREES, "label"))
    with pytest.raises(DataError, match="no labelled trees"):
        list(worlds.value_model().fit([], "q"))


def test_ids_of_another_tokenizer():
    tree = little(EVERY)
    tree.append(Node(0, tokens=ids([4711])))
    with pytest.raises(DataError, match="node 6: id 4711 is beyond the model's 31"):
        list(worlds.value_model().fit([tree], "q"))


def test_sequences_beyond_the_context():
    tree = little(EVERY)
    tree.append(Node(0, tokens=ids([3] * 257)))
    with pytest.raises(DataError, match=r"node 6: 257 tokens do not fit .* context of 256"):
        list(worlds.value_model().fit([tree], "q"))


# --- on disk -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_model.make(tmp_path_factory.mktemp("base") / "tiny-one", width=16)


def test_a_new_head_says_zero(base):
    model = ValueModel.load(base)
    assert set(model.read([(TREES[0], worlds.readable(TREES[0]))])[0]) == {0.0}
    assert model.card.base == "tiny-one"


def test_what_is_saved_says_what_it_is(base, tmp_path):
    model = ValueModel.load(base)
    list(model.fit(TREES, "q", FitSettings(objective="outcome", epochs=2, lr=1e-2)))
    model.save(tmp_path / "orm", model.evaluate(TREES, "q", FitSettings(objective="outcome")))
    card = (tmp_path / "orm" / "README.md").read_text()
    assert "column `q` of 4 trees, objective `outcome`, 2 epochs" in card
    assert "- base model: tiny-one" in card and "| auc |" in card and "`sigmoid(z)`" in card
    assert str(tmp_path) not in card and str(base.parent) not in card
    again = ValueModel.load(tmp_path / "orm")
    assert again.card == model.card and again.fingerprint
    again.check(model.fingerprint)
    assert again.value(1.0) == pytest.approx(2 / (1 + math.exp(-1)) - 1)
    assert model.value(0.3) == again.value(0.3) != math.tanh(0.3)
    result = (tmp_path / "orm" / "config.json").read_text()
    assert str(base.parent) not in result and json.loads(result)["architectures"] == [
        "LlamaForTokenClassification"
    ]


def test_another_tokenizer_is_refused(base, tmp_path):
    ValueModel.load(base).save(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    template = tmp_path / "chat_template.jinja"
    if template.exists():
        template.write_text("{{ messages[0]['content'] }}")
    else:
        path.write_text(path.read_text().replace("assistant", "helper"))
    with pytest.raises(ModelError, match=r"its tokenizer .* is not the one it was fitted with"):
        ValueModel.load(tmp_path)


def test_a_tokenizer_that_encodes_nothing_is_one_line(base, tmp_path):
    ValueModel.load(base).save(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_max_length": []}))
    with pytest.raises(ModelError, match="the tokenizer does not load: '>' not supported") as found:
        ValueModel.load(tmp_path)
    assert "\n" not in str(found.value)


def test_a_folder_that_is_no_model(tmp_path):
    with pytest.raises(ModelError, match=r"no config\.json"):
        ValueModel.load(tmp_path)
