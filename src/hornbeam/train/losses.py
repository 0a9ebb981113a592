"""Losses as pure functions of log-probs; formulas and sources in the docstrings. No model here.

Axes: T targets (sampled tokens), S segments (sampled nodes), P (leaf, segment) pairs, and *units*:
what one importance ratio belongs to, that is targets, segments or pairs by `ratio`. The weights of
aggregation are already inside plus, minus and weight, so every loss is a plain sum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

BOUND = 20.0  # of a log ratio, where nothing else is said: beyond e^20 it says only that it is far
NO_MASS = 1e-12  # below any weight that is not 0


@dataclass(slots=True)
class Units:
    """What is clipped as one, each of shape [units].

    `log_ratio` is a constant; `mean` is the mean log-prob of the unit's tokens, through which the
    gradient goes; `mass` is their number (or their truncated importance weights, summed). Beyond
    `bound` a log ratio is held, and a ratio that is held has no gradient.
    """

    log_ratio: Tensor
    mean: Tensor
    mass: Tensor
    plus: Tensor
    minus: Tensor
    bound: float = BOUND

    def ratio(self) -> Tensor:
        """R = sg(pi/pi_old) pi/sg(pi): the ratio, with the gradient r grad(mean log pi)."""
        log_ratio = self.log_ratio + (self.mean - self.mean.detach())
        return torch.exp(log_ratio.clamp(-self.bound, self.bound))


def token_units(
    logp: Tensor, old: Tensor, mass: Tensor, segment: Tensor, plus: Tensor, minus: Tensor
) -> Units:
    """Every token has its own ratio pi/pi_old (PPO, arXiv 1707.06347)."""
    return Units((logp - old).detach(), logp, mass, plus[segment], minus[segment])


def turn_units(
    logp: Tensor, old: Tensor, mass: Tensor, segment: Tensor, plus: Tensor, minus: Tensor
) -> Units:
    """All tokens of a node share exp(mean_t log(pi/pi_old)) (AT2PO, arXiv 2601.04767)."""
    mean, total = segment_means(logp, mass, segment, len(plus))
    ones = torch.ones_like(mass)
    log_ratio, _ = segment_means((logp - old).detach(), ones, segment, len(plus))
    return Units(log_ratio, mean, total, plus, minus)


def sequence_units(
    logp: Tensor,
    leaf_log_ratio: Tensor,
    mass: Tensor,
    segment: Tensor,
    segments: int,
    leaf: Tensor,
    pair: Tensor,
    value: Tensor,
) -> Units:
    """All tokens of leaf i share s_i = exp(mean_t log(pi/pi_old)) (GSPO, arXiv 2507.18071).

    Token-wise form (GSPO-token), so that nodes of one path may differ in advantage.
    `leaf_log_ratio` [leaves] holds log s_i; `value` [P] is w_i A_i.
    """
    mean, total = segment_means(logp, mass, segment, segments)
    return Units(
        leaf_log_ratio[leaf], mean[pair], total[pair], value.clamp(min=0), value.clamp(max=0)
    )


def segment_means(
    values: Tensor, mass: Tensor, segment: Tensor, segments: int
) -> tuple[Tensor, Tensor]:
    """(sum_t m_t x_t / sum_t m_t, sum_t m_t) of every segment; the mean is 0 without mass."""
    zero = torch.zeros(segments, dtype=values.dtype, device=values.device)
    total = zero.index_add(0, segment, mass)
    return zero.index_add(0, segment, mass * values) / total.clamp(min=NO_MASS), total


def clip_loss(units: Units, low: float, high: float, dual: float | None = None) -> Tensor:
    """-sum_u m [S+ min(r, 1 + high) + S- max(r, 1 - low)]: PPO's clip over all leaves below.

    Equals sum_i -min(r A_i, clip(r) A_i) (METHODS 0.1). `high` > `low` is clip-higher (DAPO, arXiv
    2503.14476); `dual` = c > 1 takes S- min(max(r, 1 - low), c) (arXiv 1912.09729).
    """
    ratio = units.ratio()
    down = ratio.clamp(min=1 - low)
    if dual is not None:
        down = down.clamp(max=dual)
    up = ratio.clamp(max=1 + high)
    return -(units.mass * (units.plus * up + units.minus * down)).sum()


def cispo_loss(units: Units, low: float, high: float) -> Tensor:
    """-sum_u m sg(clip(r, 1 - low, 1 + high)) (S+ + S-) log pi (CISPO, arXiv 2506.13585)."""
    held = units.ratio().detach().clamp(1 - low, 1 + high)
    return -(units.mass * held * (units.plus + units.minus) * units.mean).sum()


def dppo_loss(units: Units, low: float, high: float) -> Tensor:
    """-sum_u m r [S+ where pi - pi_old <= high, S- where pi - pi_old >= -low]: DPPO's TV mask.

    Qi et al. 2026, "Rethinking the trust region in LLM reinforcement learning", arXiv 2602.04879:
    what one token moves the distribution by, |pi - pi_old|, is a bound from below of the total
    variation; a ratio is large where pi_old is small and moves little. For tokens alone.
    """
    ratio, now = units.ratio(), units.mean.detach().exp()
    moved = now - (units.mean.detach() - units.log_ratio).exp()
    up = units.plus * (moved <= high)
    return -(units.mass * ratio * (up + units.minus * (moved >= -low))).sum()


def sapo_loss(units: Units, plus: float, minus: float) -> Tensor:
    """-sum_u m [S+ f(r, plus) + S- f(r, minus)], f(r, t) = 4/t sigmoid(t (r - 1)): no hard clip.

    SAPO, arXiv 2511.20347. The gradient is 4 p (1 - p) r A grad log pi, p = sigmoid(t (r - 1)):
    that of no clip at r = 1, and for t -> 0; less and less far from it. verl's code always averages
    by sequence, TRL's does so by default.
    """
    ratio = units.ratio()
    up = 4 / plus * torch.sigmoid(plus * (ratio - 1))
    down = 4 / minus * torch.sigmoid(minus * (ratio - 1))
    return -(units.mass * (units.plus * up + units.minus * down)).sum()


def clipped(units: Units, low: float, high: float) -> Tensor:
    """Which units lose gradient by the clip: r > 1 + high with S+, or r < 1 - low with S-."""
    ratio = units.ratio().detach()
    above = (ratio > 1 + high) & (units.plus > 0)
    return above | ((ratio < 1 - low) & (units.minus < 0))


def k3(logp: Tensor, reference: Tensor, bound: float = BOUND, most: float | None = None) -> Tensor:
    """exp(d) - d - 1 with d = log pi_ref - log pi: unbiased for KL(pi | pi_ref), never negative.

    J. Schulman, "Approximating KL divergence", 2020. d is held to [-bound, bound] and the result to
    `most`; what is held has no gradient. verl's code has 20 and 10, TRL's no bounds.
    """
    difference = (reference - logp).clamp(-bound, bound)
    kl = torch.exp(difference) - difference - 1
    return kl if most is None else kl.clamp(max=most)


def k3_ratio(
    logp: Tensor, reference: Tensor, old: Tensor, bounds: tuple[float, float, float | None]
) -> Tensor:
    """R k3, r = pi/pi_old with its gradient: that gradient is unbiased for KL(pi | pi_ref).

    For tokens sampled from pi_old; k3's own is not, though its value is, where pi = pi_old.
    DeepSeek-V3.2, arXiv 2512.02556; TRL's default (`use_bias_correction_kl`). `bounds` hold log r,
    d and k3.
    """
    ratio, bound, most = bounds
    return torch.exp((logp - old).clamp(-ratio, ratio)) * k3(logp, reference, bound, most)


def k2(logp: Tensor, reference: Tensor, bound: float = BOUND, most: float | None = None) -> Tensor:
    """d^2 / 2: its gradient is unbiased for KL(pi | pi_ref) on tokens of pi, its value is not.

    J. Schulman, "Approximating KL divergence", 2020; verl's "k2", the gradient of its "k3+".
    """
    half = (reference - logp).clamp(-bound, bound).square() / 2
    return half if most is None else half.clamp(max=most)


def importance(
    difference: Tensor, high: float, low: float = 0.0, *, mask: bool = False
) -> tuple[Tensor, Tensor]:
    """(w, whether it was outside [low, high]) of w = exp(apart), a constant; `apart` is log-probs.

    Outside it is cut to the bound (Yao et al. 2025, "Your efficient RL framework secretly brings
    you off-policy RL training"), or with `mask` 0 (IcePop, Ling Team 2025, arXiv 2510.18855). Of
    tokens `apart` = log(pi_old/pi_engine), of sequences its sum: TRL's four
    `vllm_importance_sampling_mode`, verl's `rollout_is`. verl may also divide by the batch's mean.
    """
    weight = torch.exp(difference.detach().clamp(-BOUND, BOUND))
    outside = (weight < low) | (weight > high)
    return weight.masked_fill(outside, 0.0) if mask else weight.clamp(low, high), outside


def kept(difference: Tensor, kl: float | None, ratio: float | None) -> Tensor:
    """Which leaves a gate keeps: -apart <= kl, and 1/ratio <= exp(apart) <= ratio.

    `apart` is the mean of log(pi/pi_engine) over a leaf's trained tokens. With `kl` on terms of
    negative advantage it is DeepSeek-V3.2's sequence mask (arXiv 2512.02556, Eq. 9), TRL's
    `off_policy_mask_threshold`; with `ratio` on all terms the geometric mask of Liu et al. 2025
    ("When speed kills stability"), verl's `seq_mean_k1`. verl's masks take the tokens out of the
    loss's denominator too, and compare pi_old; here as in TRL it is the present pi.
    """
    keep = torch.ones_like(difference, dtype=torch.bool)
    if kl is not None:
        keep &= -difference <= kl
    if ratio is not None:
        keep &= difference.abs() <= math.log(ratio)
    return keep
