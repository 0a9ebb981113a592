"""DPO and IPO between the leaves of a tree: by hand on the tree of test_leaves, against TRL's
formulas on random trees, packed and flat.

      leaf 2 has advantage 2, leaf 4 has -1: the pair (2, 4); t0 is of both
0     log pi - log pi_ref:   t0 0.1   t1, t3 0.2   t2, t4 -0.3   t5 -0.4
1     leaf 2: 0.1 + 2 * 0.2 = 0.5     leaf 4: 0.1 - 2 * 0.3 - 0.4 = -0.9     m = 1.4
|\\
2 3
  4
"""

import copy
import math
from itertools import permutations

import pytest
import torch
from torch.nn import functional as F

from hornbeam.errors import RecipeError
from hornbeam.settings import build
from hornbeam.train.leaves import Batch, Fixed, of_leaves
from hornbeam.train.objective import objective
from hornbeam.train.pack import packs
from hornbeam.train.policy import Policy
from hornbeam.train.preferences import dpo, ipo
from hornbeam.train.rows import collect
from hornbeam.train.train_settings import LossSettings, OptimSettings
from train import worlds
from train.flat import log_probs
from train.test_leaves import APART
from train.test_rows import little

M = 1.4


def gradient(**loss):
    """The loss, d loss / d log pi of the six tokens, and what happened."""
    how = LossSettings(**loss)
    rows = collect([little()], pairs=how.pairs, preferred=how.prefers)
    (pack,) = packs(rows, 100, packed=True)
    logp = (pack.old + APART).requires_grad_()
    batch = Batch([pack], [Fixed(pack.old, pack.old)], rows.leaves, rows.preferred)
    leaves, result = of_leaves(how, batch, [logp])
    value, _ = objective(how, pack, logp, torch.zeros(6), batch.fixed[0], leaves)
    value.backward()
    return float(value.detach()), logp.grad.tolist(), result


@pytest.mark.parametrize("beta", [0.1, 0.7])
def test_dpo_of_siblings_by_hand(beta):
    loss, grad, result = gradient(objective="dpo", beta=beta)
    assert loss == pytest.approx(math.log(1 + math.exp(-beta * M)))
    slope = -beta / (1 + math.exp(beta * M))
    assert grad == pytest.approx([0, slope, -slope, slope, -slope, -slope], abs=1e-7)
    assert float(result["preference_margin"][0]) == pytest.approx(M)
    assert result["preference_accuracy"] == (1, 1)


def test_ipo_of_siblings_by_hand():
    loss, grad, _ = gradient(objective="ipo", beta=0.5)
    assert loss == pytest.approx((M - 1) ** 2)
    slope = 2 * (M - 1)
    assert grad == pytest.approx([0, slope, -slope, slope, -slope, -slope], abs=1e-6)


@pytest.mark.parametrize("make", [dpo, ipo])
def test_slopes_are_those_of_the_losses(make):
    margin = torch.linspace(-3, 3, 7, dtype=torch.float64, requires_grad=True)
    loss, slope = make(margin, 0.3)
    loss.sum().backward()
    assert slope.tolist() == pytest.approx(margin.grad.tolist())


def flat_loss(model, reference, trees, kind, beta):
    """TRL's "sigmoid" and "ipo" (sums, not means) for every pair of leaves, a path at a time."""
    losses = []
    for tree in trees:
        advantage = tree.columns["advantage"]
        ends = [i for i in tree.leaves() if advantage[i] is not None]
        apart = {}
        for end in ends:
            spoke = [i for i in tree.path(end) if len(tree.nodes[i].tokens)]
            with torch.no_grad():
                ref = sum(
                    (log_probs(reference, tree, i, 1.0)[0].sum() for i in spoke), torch.zeros(())
                )
            new = sum((log_probs(model, tree, i, 1.0)[0].sum() for i in spoke), torch.zeros(()))
            if spoke:
                apart[end] = new - ref
        for chosen, rejected in permutations(apart, 2):
            if advantage[chosen] > advantage[rejected] + 1e-9:
                delta = apart[chosen] - apart[rejected]
                sigmoid = -F.logsigmoid(beta * delta)
                losses.append(sigmoid if kind == "dpo" else (delta - 1 / (2 * beta)) ** 2)
    return torch.stack(losses).mean(), len(losses)


def rewarded(seed, tasks):
    """Random trees whose advantages are their rewards."""
    trees = worlds.random_trees(seed, tasks=tasks, each=2)
    for tree in trees:
        tree.columns["advantage"] = list(tree.columns["reward"])
    return trees


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("kind", ["dpo", "ipo"])
def test_one_step_is_that_of_pairs_told_one_by_one(kind, packed):
    """The first gradient, off the reference, over packs that cut paths."""
    trees = rewarded(3, 2)
    reference, model = worlds.model("Llama", seed=1), worlds.model("Llama", seed=1)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=draw)
    loss, pairs = flat_loss(model, reference, trees, kind, 0.2)
    loss.backward()
    wanted = torch.cat([p.grad.flatten() for p in model.parameters()])
    assert pairs > 3 and wanted.norm() > 0.1

    policy = Policy(
        copy.deepcopy(reference),
        loss=LossSettings(objective=kind, beta=0.2),
        optim=OptimSettings(packed=packed, max_pack_tokens=16, lr=1e-3),
    )
    with torch.no_grad():
        for mine, other in zip(policy.model.parameters(), model.parameters()):
            mine.copy_(other)
    metrics = policy.step(trees)
    assert metrics["loss"] == pytest.approx(float(loss.detach()), rel=1e-4)
    assert metrics["grad_norm"] == pytest.approx(float(wanted.norm()), rel=1e-3)
    assert metrics["preference_margin"] != 0 and metrics["updates"] == 1


def test_steps_widen_the_margin():
    trees = rewarded(5, 1)
    policy = Policy(
        worlds.model("Llama", seed=2),
        loss=LossSettings(objective="dpo", beta=0.5),
        optim=OptimSettings(lr=1e-3, epochs=8),
    )
    first, second = policy.step(trees), policy.step(trees)
    assert second["preference_margin"] > first["preference_margin"] > 0
    assert second["preference_accuracy"] > 0.5 and second["loss"] < math.log(2)


def test_trees_without_a_difference_train_nothing():
    tree = little()
    tree.columns["advantage"] = [1.0] * len(tree)
    assert collect([tree], pairs=True, preferred=True).preferred == []


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ({"beta": 0.2}, "loss.beta has a meaning with loss.objective = 'dpo' or 'ipo' alone"),
        ({"objective": "dpo", "clip_low": 0.1}, "loss.clip_low has no meaning with"),
        ({"objective": "dpo", "ratio": "turn"}, "loss.ratio has no meaning with"),
        ({"objective": "ipo", "old": "trainer"}, "loss.old has no meaning with"),
        ({"objective": "ipo", "gate": {"kl": 1}}, "loss.gate has no meaning with"),
        ({"objective": "dpo", "beta": 0}, "greater than 0"),
    ],
)
def test_settings_that_do_not_fit_are_told(loss, message):
    with pytest.raises(RecipeError, match=message):
        build("table", {"loss": LossSettings}, "loss", loss)
