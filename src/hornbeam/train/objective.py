"""The loss of one pack: settings, log-probs and the pack's sums in, one number out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hornbeam.train import losses
from hornbeam.train.pack import Pack
from hornbeam.train.settings import LossSettings


@dataclass(slots=True)
class Fixed:
    """Constants of a pack in one step, each [T] or None.

    `old` is the denominator of the ratio (None: the current log-probs), `reference` are log-probs
    of the reference, `mass` truncated importance weights.
    """

    old: Tensor | None
    reference: Tensor | None = None
    mass: Tensor | None = None


def objective(
    how: LossSettings,
    pack: Pack,
    logp: Tensor,
    entropy: Tensor,
    fixed: Fixed,
    leaf_log_ratio: Tensor | None = None,
) -> tuple[Tensor, dict[str, tuple[Tensor, int]]]:
    """(loss, what happened): clip or CISPO + kl k3 - entropy H, weighted by aggregation.

    `leaf_log_ratio` is needed by sequence ratios only. What happened is told as (sum, count), the
    sums as tensors: to read one makes the machine wait for its device.
    """
    old = logp.detach() if fixed.old is None else fixed.old
    mass = torch.ones_like(logp) if fixed.mass is None else fixed.mass
    if how.ratio == "sequence":
        assert leaf_log_ratio is not None
        units = losses.sequence_units(
            logp, leaf_log_ratio, mass, pack.segment, len(pack.plus),
            pack.leaf, pack.pair, pack.value,
        )  # fmt: skip
    else:
        make = losses.token_units if how.ratio == "token" else losses.turn_units
        units = make(logp, old, mass, pack.segment, pack.plus, pack.minus)
    units.bound = how.bounds.ratio
    if how.objective == "clip":
        loss = losses.clip_loss(units, how.clip_low, how.clip_high, how.dual_clip)
    else:
        loss = losses.cispo_loss(units, how.clip_low, how.clip_high)
    weight = pack.weight[pack.segment]
    told = {"entropy": (entropy.detach().sum(), len(entropy))}
    if how.entropy:
        loss = loss - how.entropy * (weight * entropy).sum()
    if fixed.reference is not None:
        apart = losses.k3(logp, fixed.reference, how.bounds.kl, how.bounds.kl_most)
        loss = loss + how.kl * (weight * apart).sum()
        told["kl"] = (apart.detach().sum(), len(apart))
    cut = losses.clipped(units, how.clip_low, how.clip_high)
    told["clip_fraction"] = (cut.float().sum(), len(cut))
    told["ratio_mean"] = (units.ratio().detach().sum(), len(cut))
    return loss, told


def engine_gap(pack: Pack, logp: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Sum and count of |log pi_trainer - log pi_engine| over the tokens that the policy sampled.

    Before a step's first update that is how far engine and trainer are apart, in nats a token: by
    kernels and precision, and by age where older weights spoke.
    """
    own = ~pack.held[pack.segment]
    apart = (logp.detach() - pack.old).abs().where(own, 0.0)
    return {"engine_gap": (apart.sum(), own.sum())}


def leaf_log_ratios(
    packs: Sequence[Pack],
    logps: Sequence[Tensor],
    olds: Sequence[Tensor],
    leaves: int,
    over_ranks: Callable[[Tensor], Tensor] = torch.Tensor.detach,
) -> Tensor:
    """Log s_i = mean over all trained tokens of leaf i of log(pi/pi_old), shape [leaves].

    `over_ranks` adds up what every process has of it.
    """
    total = torch.zeros(leaves, device=logps[0].device)
    count = torch.zeros_like(total)
    for pack, logp, old in zip(packs, logps, olds):
        zero = torch.zeros_like(pack.plus)
        apart = zero.index_add(0, pack.segment, logp.detach() - old)
        tokens = zero.index_add(0, pack.segment, torch.ones_like(logp))
        total.index_add_(0, pack.leaf, apart[pack.pair])
        count.index_add_(0, pack.leaf, tokens[pack.pair])
    return over_ranks(total) / over_ranks(count).clamp(min=1)
