"""Weights and gates of whole leaves on a five-node tree by hand, GSPO, and steps that stop.

      A_0 = 2 at leaf 2, A_1 = -1 at leaf 4; token mean, w = 1/7 (test_rows.little)
0     tokens:   1: t0     2: t1 t3     3: t2 t4     4: t5, in the pack's order of targets
1     log pi - log pi_engine:   t0 0.1   t1, t3 0.2   t2, t4 -0.3   t5 -0.4
|\\    leaf 2: sum 0.5, mean 1/6       leaf 4: sum -0.9, mean -0.225
2 3
  4
"""

import math
from dataclasses import replace

import pytest
import torch

from hornbeam.credit import credit
from hornbeam.errors import RecipeError
from hornbeam.settings import build
from hornbeam.train.leaves import Batch, Fixed, of_leaves
from hornbeam.train.objective import objective
from hornbeam.train.pack import packs
from hornbeam.train.policy import Policy
from hornbeam.train.rows import collect
from hornbeam.train.train_settings import LossSettings, OptimSettings
from hornbeam.tree.nodes import Origin
from train import worlds
from train.test_rows import little

APART = torch.tensor([0.1, 0.2, -0.3, 0.2, -0.3, -0.4])
A, B = 2 / 7, -1 / 7  # w_i A_i of the two leaves


def gradient(tree=None, **loss):
    """(-d loss / d log pi) of the six tokens, and what happened."""
    how = LossSettings(**loss)
    rows = collect([tree or little()], aggregation=how.aggregation, pairs=how.pairs)
    (pack,) = packs(rows, 100, packed=True)
    logp = (pack.old + APART).requires_grad_()
    old = logp.detach() if how.old == "trainer" else pack.old
    batch = Batch([pack], [Fixed(old)], rows.leaves)
    batch.weigh(how, lambda values: values)
    leaves, result = of_leaves(how, batch, [logp])
    value, _ = objective(how, pack, logp, torch.zeros(6), batch.fixed[0], leaves)
    value.backward()
    return [-float(g) for g in logp.grad], {**batch.metrics, **result}


@pytest.mark.parametrize(
    ("how", "first", "second"),
    [
        ({"high": 3.0}, math.exp(0.5), math.exp(-0.9)),
        ({"high": 1.5, "low": 0.5}, 1.5, 0.5),
        ({"high": 1.5, "outside": "mask"}, 0.0, math.exp(-0.9)),
    ],
)
@pytest.mark.parametrize("ratio", ["token", "turn", "sequence"])
def test_a_sequences_weight_multiplies_its_leafs_terms(how, first, second, ratio):
    importance = {"level": "sequence", **how}
    got, result = gradient(old="trainer", importance=importance, ratio=ratio)
    a, b = A * first, B * second
    assert got == pytest.approx([a + b, a, b, a, b, b])
    total, count = result["importance_mean"]
    assert (float(total), count) == (pytest.approx(first + second), 2)
    assert float(result["importance_outside"][0]) == {3.0: 0, 1.5: 1 + ("low" in how)}[how["high"]]


def test_a_tokens_weight_multiplies_that_token():
    r = APART.exp().tolist()
    got, result = gradient(old="trainer", importance={"high": 1.2, "low": 0.7, "outside": "mask"})
    assert got == pytest.approx([(A + B) * r[0], 0, B * r[2], 0, B * r[4], 0])
    assert float(result["importance_outside"][0]) == 3
    one, _ = gradient(old="trainer", importance={"high": 1.15})
    assert gradient(old="trainer", truncate=1.15)[0] == one


@pytest.mark.parametrize(
    ("gate", "first", "second", "lose"),
    [
        ({"kl": 0.3}, 1, 1, 0),
        ({"kl": 0.2}, 1, 0, 1),  # the mean of log(pi_engine/pi) at leaf 4 is 0.225
        ({"kl": 0.1}, 1, 0, 1),  # leaf 2 went the other way
        ({"ratio": math.exp(0.2)}, 1, 0, 1),
        ({"ratio": math.exp(0.1)}, 1, 0, 1),  # leaf 2 is out too, but its terms are positive
        ({"ratio": math.exp(0.1), "of": "all"}, 0, 0, 2),
        ({"ratio": math.exp(0.2), "of": "all"}, 1, 0, 1),
    ],
)
def test_a_gate_leaves_out_terms_of_leaves(gate, first, second, lose):
    got, result = gradient(gate=gate, clip_low=1.0, clip_high=1.0)
    r, a, b = APART.exp().tolist(), A * first, B * second
    assert got == pytest.approx([x * y for x, y in zip([a + b, a, b, a, b, b], r)])
    assert (float(result["gated_leaves"][0]), result["gated_leaves"][1]) == (lose, 2)


@pytest.mark.parametrize(
    ("veto", "of", "first", "second"),
    [(0.6, "all", 1, 1), (0.7, "all", 1, 0), (0.99, "all", 1, 0), (0.7, "negative", 1, 0)],
)
def test_one_far_token_drops_its_leaves(veto, of, first, second):
    """The lowest pi/pi_engine is e^-0.4 = 0.67 at t5, of leaf 4; leaf 2 has none below 1."""
    got, result = gradient(gate={"veto": veto, "of": of}, clip_low=1.0, clip_high=1.0)
    r, a, b = APART.exp().tolist(), A * first, B * second
    assert got == pytest.approx([x * y for x, y in zip([a + b, a, b, a, b, b], r)])
    assert float(result["gated_leaves"][0]) == 1 - second


def test_a_gate_on_negative_terms_looks_at_each_nodes_own_advantage():
    tree = little()
    tree.columns["advantage"][3] = 0.5  # on the path of leaf 4, which is gated: a positive term
    got, _ = gradient(tree, gate={"kl": 0.2}, clip_low=1.0, clip_high=1.0)
    c = 0.5 / 7
    want = [A, A, c, A, c, 0.0]
    assert got == pytest.approx([x * y for x, y in zip(want, APART.exp().tolist())])


# --- GSPO ------------------------------------------------------------------------------------


def gspo(advantages, low, high):
    """-d/d log pi of (1/G) sum_i min(s_i A_i, clip(s_i) A_i), s_i differentiated whole."""
    logp = APART.clone().requires_grad_()
    total = torch.zeros(())
    for places, a in zip(([0, 1, 3], [0, 2, 4, 5]), advantages):
        s = logp[places].mean().exp()
        total = total + torch.minimum(s * a, s.clamp(1 - low, 1 + high) * a) / 2
    total.backward()
    return logp.grad.tolist()


@pytest.mark.parametrize("advantages", [(2.0, -1.0), (-2.0, 1.0)])
def test_gspo_token_with_equal_advantages_is_gspo(advantages):
    tree = little()
    tree.columns["advantage"] = [None, None, advantages[0], None, advantages[1]]
    for low, high in [(0.5, 0.5), (0.1, 0.1)]:  # no clip; both clipped on one side
        how = {"clip_low": low, "clip_high": high, "aggregation": "sequence_mean"}
        got, _ = gradient(tree, ratio="sequence", **how)
        assert got == pytest.approx(gspo(advantages, low, high), abs=1e-7)


def test_gspo_token_gives_every_step_its_own_advantage():
    """J = 1/G sum_i 1/|o_i| sum_t min(s_it A_it, clip(s_it) A_it): one s_i, clipped by A_it."""
    tree = little()
    tree.columns["advantage"] = [None, 1.0, 2.0, -3.0, 4.0]
    how = {"clip_low": 0.1, "clip_high": 0.1, "aggregation": "sequence_mean"}
    got, _ = gradient(tree, ratio="sequence", **how)
    # s_0 = e^(1/6) > 1.1: positive terms are clipped; s_1 = e^-0.225 < 0.9: negative ones are
    s1 = math.exp(-0.225)
    assert got == pytest.approx([s1 / 8, 0, 0, 0, 0, 4 * s1 / 8])


# --- steps that stop -------------------------------------------------------------------------


def trees(seed=1):
    out = worlds.random_trees(seed, tasks=3)
    credit(out, "grpo")
    return out


def policy(optim=None, **loss):
    more = {"lr": 1e-2, **(optim or {})}
    return Policy(worlds.model("Llama"), loss=LossSettings(**loss), optim=OptimSettings(**more))


def weights(p):
    return {n: q.detach().clone() for n, q in p.model.named_parameters()}


@pytest.mark.parametrize("gate", [{"stop_kl": 1e-4}, {"stop_ratio": 1.01}])
def test_a_step_stops_where_the_policy_has_gone_too_far(gate):
    once = policy(old="trainer", gate={"stop_kl": 9.0})
    stopped = policy({"epochs": 3}, old="trainer", gate=gate)
    once.step(trees())
    metrics = stopped.step(trees())
    assert (metrics["updates"], metrics["stopped_updates"], metrics["skipped_updates"]) == (1, 2, 0)
    assert (
        metrics["divergence"] > 1e-4 / 2
    )  # the mean over the update that was made and the stopped
    for n, q in weights(stopped).items():
        assert torch.equal(q, weights(once)[n])
    free = policy({"epochs": 3}, old="trainer", gate={"stop_kl": 9.0}).step(trees())
    assert (free["updates"], free["stopped_updates"]) == (3, 0)


def test_a_step_that_stops_at_once_changes_nothing():
    p = policy(gate={"stop_kl": 1e-3})  # the engine's log-probs are made up here
    before = weights(p)
    metrics = p.step(trees())
    assert (metrics["updates"], metrics["stopped_updates"], p.version) == (0, 1, 0)
    assert all(torch.equal(q, before[n]) for n, q in weights(p).items())


@pytest.mark.parametrize("method", ["grpo", "tree_rl"])
def test_divergence_is_that_of_flat_rows(method):
    given, found = trees(), []
    credit(given, method)
    for packed, bound in ((True, 4096), (True, 24), (False, 4096)):
        how = {"gate": {"stop_kl": 9.0, "ratio": 1.2, "of": "all"}}
        metrics = policy({"packed": packed, "max_pack_tokens": bound}, **how).step(given)
        found.append((metrics["divergence"], metrics["gated_leaves"], metrics["grad_norm"]))
    assert found[1] == pytest.approx(found[0], rel=1e-4)
    assert found[2] == pytest.approx(found[0], rel=1e-4)
    assert found[0][0] > 0 and 0 < found[0][1] < 1


def test_what_another_put_in_is_weighed_and_gated_by_nothing():
    """An injected run far from the policy has weight 1 and passes every gate."""
    given = trees()
    for tree in given:
        tree.nodes[:] = [replace(n, origin=Origin(version=-1)) for n in tree.nodes]
    how = {"importance": {"level": "sequence", "outside": "mask", "low": 0.9, "high": 1.1}}
    metrics = policy(old="trainer", gate={"kl": 1e-3, "stop_ratio": 1.001}, **how).step(given)
    assert (metrics["importance_mean"], metrics["importance_outside"], metrics["gated_leaves"]) == (
        1,
        0,
        0,
    )
    assert (metrics["updates"], metrics["divergence"]) == (1, 0)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ({"importance": {}}, "loss.importance compares trainer and engine: set loss.old"),
        ({"old": "trainer", "importance": {"low": 3}}, "low = 3 is above high = 2"),
        ({"old": "trainer", "importance": {}, "truncate": 2}, "give one of them"),
        ({"gate": {}}, "give at least one of kl, ratio, veto, stop_kl, stop_ratio"),
        ({"gate": {"stop_kl": 1, "of": "all"}}, "of = 'all' is about leaves"),
        ({"objective": "sapo", "clip_high": 0.3}, "clip_high have no meaning"),
        ({"objective": "sapo", "dual_clip": 3}, "dual_clip has no meaning"),
        ({"sapo": (1, 2)}, "loss.sapo has a meaning with loss.objective = 'sapo' alone"),
        ({"kl_estimator": "k2"}, "kl_estimator has no meaning with loss.kl = 0"),
        ({"bounds": {"kl": 100}}, "less than or equal to 80"),
    ],
)
def test_settings_that_do_not_fit_are_told(loss, message):
    with pytest.raises(RecipeError, match=message):
        build("table", {"loss": LossSettings}, "loss", loss)
