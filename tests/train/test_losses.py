"""Losses by hand, and laws that tie them together."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hornbeam.train.losses import (
    Units,
    cispo_loss,
    clip_loss,
    clipped,
    dppo_loss,
    importance,
    k2,
    k3,
    k3_ratio,
    kept,
    sapo_loss,
    segment_means,
    sequence_units,
    token_units,
    turn_units,
)

ratios = st.floats(0.3, 3.0)
advantages = st.lists(st.floats(-2, 2), min_size=1, max_size=6)


def units(ratio, plus, minus, mass=1.0):
    log = torch.tensor([math.log(ratio)], dtype=torch.float64)
    mean = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    kind = torch.float64
    return Units(
        log,
        mean,
        torch.tensor([mass], dtype=kind),
        *(torch.tensor([x], dtype=kind) for x in (plus, minus)),
    )


@given(ratios, advantages)
def test_two_sums_give_what_every_leaf_gives(ratio, leaves):
    """METHODS 0.1: sum_i min(r A_i, clip(r) A_i) = S+ min(r, 1+e) + S- max(r, 1-e)."""
    each = sum(min(ratio * a, min(max(ratio, 0.8), 1.28) * a) for a in leaves)
    plus, minus = sum(max(a, 0) for a in leaves), sum(min(a, 0) for a in leaves)
    assert float(clip_loss(units(ratio, plus, minus), 0.2, 0.28).detach()) == pytest.approx(
        -each, abs=1e-9
    )


@given(ratios, advantages)
def test_two_sums_give_the_dual_clip(ratio, leaves):
    """For A < 0 the term is max(min(r A, clip(r) A), c A)."""

    def term(a):
        inner = min(ratio * a, min(max(ratio, 0.8), 1.2) * a)
        return max(inner, 1.5 * a) if a < 0 else inner

    plus, minus = sum(max(a, 0) for a in leaves), sum(min(a, 0) for a in leaves)
    got = float(clip_loss(units(ratio, plus, minus), 0.2, 0.2, 1.5).detach())
    assert got == pytest.approx(-sum(map(term, leaves)), abs=1e-9)


@pytest.mark.parametrize(
    ("ratio", "plus", "minus", "gradient", "cut"),
    [
        (1.0, 2.0, -1.0, -1.0, False),  # -(2 - 1) r
        (1.5, 2.0, 0.0, 0.0, True),  # beyond 1.2 good leaves push no further
        (1.5, 2.0, -1.0, 1.5, True),  # the bad ones still do: +1 r
        (0.5, 0.0, -1.0, 0.0, True),
        (0.5, 2.0, -1.0, -1.0, True),  # -2 r
    ],
)
def test_gradient_of_the_clip(ratio, plus, minus, gradient, cut):
    u = units(ratio, plus, minus)
    clip_loss(u, 0.2, 0.2).backward()
    assert float(u.mean.grad) == pytest.approx(gradient)
    assert bool(clipped(u, 0.2, 0.2)) is cut


def test_cispo_weighs_the_log_prob_with_a_held_ratio():
    u = units(1.5, 2.0, -0.5)
    cispo_loss(u, 0.2, 0.2).backward()
    assert float(u.mean.grad) == pytest.approx(-1.2 * 1.5)


def test_k3_by_hand_and_never_negative():
    logp, reference = torch.tensor([-1.0, -2.0]), torch.tensor([-1.0, -1.0])
    assert k3(logp, reference).tolist() == pytest.approx([0.0, math.e - 2])
    assert (k3(torch.randn(100), torch.randn(100)) >= 0).all()


def test_gradients_of_the_kl_estimators():
    """Over a vocabulary of four, tokens from pi_old: sum_a pi_old(a) grad term(a) against grad KL.

    k3_ratio has KL's value and gradient for any pi_old, k2 the gradient at pi = pi_old, k3 the
    value there.
    """
    z = torch.tensor([0.3, -1.0, 0.8, 0.1], dtype=torch.float64, requires_grad=True)
    reference = torch.tensor([0.0, 0.5, -0.4, 1.0], dtype=torch.float64).log_softmax(0)
    away = torch.tensor([1.0, 0.2, -0.7, 0.0], dtype=torch.float64).log_softmax(0)
    logp = z.log_softmax(0)

    def mean(term, old):
        value = (old.exp() * term).sum()
        return float(value.detach()), torch.autograd.grad(value, z, retain_graph=True)[0].tolist()

    kl, slope = mean(logp.exp() * (logp - reference), torch.zeros(4))
    here = logp.detach()
    for old in (here, away):
        value, gradient = mean(k3_ratio(logp, reference, old, (20.0, 20.0, None)), old)
        assert value == pytest.approx(kl) and gradient == pytest.approx(slope)
    assert mean(k2(logp, reference), here)[1] == pytest.approx(slope)
    value, gradient = mean(k3(logp, reference), here)
    assert value == pytest.approx(kl) and gradient != pytest.approx(slope, rel=0.1)
    far = torch.tensor([-100.0])
    assert k2(far, torch.zeros(1), 20.0).tolist() == [200.0]
    assert k3_ratio(far, torch.zeros(1), far, (20.0, 20.0, 10.0)).tolist() == [10.0]


def test_what_is_beyond_a_bound_is_held_and_has_no_gradient():
    logp = torch.tensor([-100.0, -1.0, -4.0], requires_grad=True)
    reference = torch.tensor([-1.0, -100.0, -1.0])
    (kl := k3(logp, reference)).sum().backward()
    e20, e3 = math.exp(20), math.exp(3)
    assert kl.tolist() == pytest.approx([e20 - 21, 19.0, e3 - 4])
    assert logp.grad.tolist() == pytest.approx([0.0, 0.0, 1 - e3])
    held = k3(logp.detach(), reference, bound=5.0, most=10.0)
    assert held.tolist() == pytest.approx([10.0, math.exp(-5) + 4, 10.0])
    for ratio, gradient in [(math.exp(19), math.exp(19)), (math.exp(21), 0.0)]:
        u = units(ratio, 0.0, -1.0)  # a bad leaf below, where PPO's clip has no upper bound
        clip_loss(u, 0.2, 0.2).backward()
        assert float(u.mean.grad) == pytest.approx(gradient)


def test_importance_is_cut_or_masked_and_constant():
    difference = torch.tensor([0.5, 1.0, 3.0, 1e30]).log().requires_grad_()
    cut, outside = importance(difference, 2.0)
    assert cut.tolist() == pytest.approx([0.5, 1.0, 2.0, 2.0]) and not cut.requires_grad
    assert outside.tolist() == [False, False, True, True]
    both, outside = importance(difference, 2.0, 0.8)
    assert both.tolist() == pytest.approx([0.8, 1.0, 2.0, 2.0])
    assert outside.tolist() == [True, False, True, True]
    masked, _ = importance(difference, 2.0, 0.8, mask=True)
    assert masked.tolist() == [0.0, 1.0, 0.0, 0.0]


def test_a_gate_keeps_leaves_that_are_near():
    difference = torch.tensor([-0.3, -0.1, 0.1, 0.3])
    assert kept(difference, 0.2, None).tolist() == [False, True, True, True]
    assert kept(difference, None, math.exp(0.2)).tolist() == [False, True, True, False]


def test_sapo_by_hand():
    """f(r, t) = 4/t sigmoid(t (r - 1)); df = 4 p (1 - p) dr, here at r = 1.5, t = 1 and 2."""
    p, q = 1 / (1 + math.exp(-0.5)), 1 / (1 + math.exp(-1.0))
    u = units(1.5, 2.0, -0.5)
    (loss := sapo_loss(u, 1.0, 2.0)).backward()
    assert float(loss.detach()) == pytest.approx(-(2.0 * 4 * p - 0.5 * 2 * q))
    slope = 2.0 * 4 * p * (1 - p) - 0.5 * 4 * q * (1 - q)
    assert float(u.mean.grad) == pytest.approx(-1.5 * slope)


@pytest.mark.parametrize(
    ("now", "old", "up", "down"),
    [
        (0.5, 0.25, 0, 1),  # moved up by 0.25: no further
        (0.25, 0.5, 1, 0),  # moved down by 0.25
        (0.02, 0.005, 1, 1),  # a ratio of 4 that moves next to nothing
        (0.95, 0.79, 1, 1),
    ],
)
def test_dppo_by_hand(now, old, up, down):
    """-r (S+ m+ + S- m-): a term is masked where pi - pi_old has gone its way by more than 0.2."""
    mean = torch.tensor([math.log(now)], dtype=torch.float64, requires_grad=True)
    plus, minus = (torch.tensor([x], dtype=torch.float64) for x in (2.0, -0.5))
    log = torch.tensor([math.log(now / old)], dtype=torch.float64)
    u = Units(log, mean, torch.ones(1, dtype=torch.float64), plus, minus)
    (loss := dppo_loss(u, 0.2, 0.2)).backward()
    assert float(loss.detach()) == pytest.approx(-now / old * (2.0 * up - 0.5 * down))
    assert float(mean.grad) == pytest.approx(float(loss.detach()))


@given(ratios, advantages, st.floats(0.1, 10))
def test_sapo_is_no_clip_at_one_and_at_temperature_zero_and_a_hard_gate_at_infinity(r, leaves, t):
    plus, minus = sum(max(a, 0) for a in leaves), sum(min(a, 0) for a in leaves)
    for ratio, temperature, slope in [(1.0, t, 1.0), (r, 1e-4, r), (r, 1e4, 0.0)]:
        if temperature == 1e4 and abs(r - 1) < 0.01:
            continue
        u = units(ratio, plus, minus)
        sapo_loss(u, temperature, temperature).backward()
        assert float(u.mean.grad) == pytest.approx(-slope * (plus + minus), abs=1e-6)


def test_a_segment_without_mass_moves_nothing():
    logp = torch.tensor([-1.0, -2.0], requires_grad=True)
    none, zero = torch.zeros(2), torch.zeros(2, dtype=torch.int64)
    plus, minus = torch.tensor([2.0]), torch.tensor([-1.0])
    loss = clip_loss(turn_units(logp, logp - 0.1, none, zero, plus, minus), 0.2, 0.2)
    loss.backward()
    assert float(loss.detach()) == 0 and logp.grad.tolist() == [0.0, 0.0]


def test_segment_means_by_hand():
    mean, mass = segment_means(
        torch.tensor([1.0, 3.0, 5.0]), torch.tensor([1.0, 3.0, 2.0]), torch.tensor([0, 0, 1]), 2
    )
    assert mean.tolist() == [2.5, 5.0]
    assert mass.tolist() == [4.0, 2.0]


def test_ratios_of_all_units_agree_on_one_token():
    """A sequence of one turn of one token: all three ratios are one."""
    logp, old = torch.tensor([-1.0], requires_grad=True), torch.tensor([-1.3])
    one, zero = torch.ones(1), torch.zeros(1, dtype=torch.int64)
    plus, minus = torch.tensor([2.0]), torch.tensor([-0.0])
    made = [
        token_units(logp, old, one, zero, plus, minus),
        turn_units(logp, old, one, zero, plus, minus),
        sequence_units(logp, (logp - old).detach(), one, zero, 1, zero, zero, torch.tensor([2.0])),
    ]
    for u in made:
        (gradient,) = torch.autograd.grad(clip_loss(u, 0.5, 0.5), logp)
        assert float(gradient) == pytest.approx(-2 * math.exp(0.3))
