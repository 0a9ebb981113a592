"""The loss of one pack: settings, log-probs and the pack's sums in, one number out."""

from __future__ import annotations

import torch
from torch import Tensor

from hornbeam.train import distillation, losses
from hornbeam.train.leaves import NONE, Fixed, Happened, Leaves, own
from hornbeam.train.own_losses import own_objective, own_terms
from hornbeam.train.pack import Pack
from hornbeam.train.preferences import preference_loss
from hornbeam.train.train_settings import LossSettings


def objective(
    how: LossSettings,
    pack: Pack,
    logp: Tensor,
    entropy: Tensor,
    fixed: Fixed,
    leaves: Leaves | None = None,
    apart: Tensor | None = None,
) -> tuple[Tensor, Happened]:
    """(loss, what happened): clip, CISPO, SAPO or preferences + kl k3 - entropy H, weighted by
    aggregation; a teacher's part (`distillation`; `apart` [T] is the divergence of its full form);
    and a function's or terms of one's own (`own_losses`).

    What happened is told as (sum, count), the sums as tensors: to read one makes the machine wait
    for its device.
    """
    metrics: Happened = {"entropy": (entropy.detach().sum(), len(entropy))}
    if how.distill is None:
        loss = _main(how, pack, logp, fixed, leaves or NONE, metrics)
    else:
        loss = _taught(how, pack, logp, fixed, leaves or NONE, apart, metrics)
    weight = pack.weight[pack.segment]
    if how.entropy:
        loss = loss - how.entropy * (weight * entropy).sum()
    if fixed.reference is not None and how.kl:
        difference = _kl(how, logp, fixed, fixed.reference)
        loss = loss + how.kl * (weight * difference).sum()
        metrics["kl"] = (difference.detach().sum(), len(difference))
    if how.terms:
        loss = loss + own_terms(how, pack, logp, entropy, fixed, metrics)
    return loss, metrics


def _main(
    how: LossSettings, pack: Pack, logp: Tensor, fixed: Fixed, leaves: Leaves, metrics: Happened
) -> Tensor:
    """The objective alone, what it clipped told in `metrics`."""
    if leaves.pull is not None and leaves.share is not None:
        return preference_loss(pack, logp, leaves.pull, leaves.share)
    units = _units(how, pack, logp, fixed, leaves)
    return _clipped(how, units, metrics)


def _clipped(how: LossSettings, units: losses.Units, metrics: Happened) -> Tensor:
    """What the objective makes of units, what it clipped told in `metrics`."""
    metrics["ratio_mean"] = (units.ratio().detach().sum(), len(units.mean))
    if how.objective in ("clip", "cispo"):  # others clip nothing
        cut = losses.clipped(units, how.clip_low, how.clip_high)
        metrics["clip_fraction"] = (cut.float().sum(), len(cut))
    if how.objective == "clip" or how.prefers:
        return losses.clip_loss(units, how.clip_low, how.clip_high, how.dual_clip)
    if how.objective == "cispo":
        return losses.cispo_loss(units, how.clip_low, how.clip_high)
    if how.objective == "dppo":
        return losses.dppo_loss(units, how.clip_low, how.clip_high)
    if how.objective == "sapo":
        return losses.sapo_loss(units, *how.sapo)
    return own_objective(how.own_objective, units)


def _taught(
    how: LossSettings,
    pack: Pack,
    logp: Tensor,
    fixed: Fixed,
    leaves: Leaves,
    apart: Tensor | None,
    metrics: Happened,
) -> Tensor:
    """What a teacher adds to the objective, or is in its place; its gap is told in `metrics`."""
    assert how.distill is not None
    teaches: Happened = {}
    if apart is not None:
        loss = distillation.full_loss(how, pack, apart)
        gap = apart.detach()
    else:
        assert fixed.teacher is not None
        loss = _clipped(how, distillation.units(how, pack, logp, fixed), teaches)
        gap = logp.detach() - fixed.teacher
    mine = own(pack)
    metrics["teacher_gap"] = (gap.where(mine, 0.0).sum(), mine.sum())
    if how.distill.alone:
        metrics.update(teaches)
        return loss
    return loss + _main(how, pack, logp, fixed, leaves, metrics)


def _kl(how: LossSettings, logp: Tensor, fixed: Fixed, reference: Tensor) -> Tensor:
    """What each token adds to the KL to the reference."""
    held = how.bounds.kl, how.bounds.kl_most
    if how.kl_estimator == "k3_ratio":
        old = logp.detach() if fixed.old is None else fixed.old
        return losses.k3_ratio(logp, reference, old, (how.bounds.ratio, *held))
    return (losses.k2 if how.kl_estimator == "k2" else losses.k3)(logp, reference, *held)


def _units(
    how: LossSettings, pack: Pack, logp: Tensor, fixed: Fixed, leaves: Leaves
) -> losses.Units:
    """What is clipped as one, with the factors of leaves inside its sums."""
    old = logp.detach() if fixed.old is None else fixed.old
    mass = torch.ones_like(logp) if fixed.mass is None else fixed.mass
    plus, minus, value = _sums(pack, leaves)
    if how.ratio == "sequence":
        assert leaves.log_ratio is not None
        units = losses.sequence_units(
            logp, leaves.log_ratio, mass, pack.segment, len(plus), pack.leaf, pack.pair, value
        )
    else:
        make = losses.token_units if how.ratio == "token" else losses.turn_units
        units = make(logp, old, mass, pack.segment, plus, minus)
    units.bound = how.bounds.ratio
    return units


def _sums(pack: Pack, leaves: Leaves) -> tuple[Tensor, Tensor, Tensor]:
    """S+ and S- of segments, w_i A_i of pairs, each leaf's terms times its factor."""
    if leaves.plus is None or leaves.minus is None:
        return pack.plus, pack.minus, pack.value
    plus = pack.value.clamp(min=0) * leaves.plus[pack.leaf]
    minus = pack.value.clamp(max=0) * leaves.minus[pack.leaf]
    zero = torch.zeros_like(pack.plus)
    return (
        zero.index_add(0, pack.pair, plus),
        zero.index_add(0, pack.pair, minus),
        plus + minus,
    )


def engine_gap(pack: Pack, logp: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Sum and count of |log pi_trainer - log pi_engine| over the tokens that the policy sampled.

    Before a step's first update that is how far engine and trainer are apart, in nats a token: by
    kernels and precision, and by age where older weights spoke.
    """
    mine = own(pack) & ~pack.old.isnan()  # NaN: the engine told none
    difference = (logp.detach() - pack.old).abs().where(mine, 0.0)
    return {"engine_gap": (difference.sum(), mine.sum())}
