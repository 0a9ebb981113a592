"""What is of a whole leaf, gathered along its path over all packs of an update: its ratio, its
importance weight, whether a gate keeps it. It goes into the packs' sums pair by pair, so packing
stays exact. And how far an update has gone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hornbeam.train import losses, preferences
from hornbeam.train.loss_parts import GateSettings
from hornbeam.train.pack import Pack
from hornbeam.train.rows import Rows
from hornbeam.train.train_settings import LossSettings
from hornbeam.train.update_metrics import WEIGHTS

Happened = dict[str, tuple[Tensor, int | Tensor]]  # sums and counts by name
Over = Callable[[Tensor], Tensor]  # adds up what every process has of it


@dataclass(slots=True)
class Fixed:
    """Constants of a pack in one step, each [T] or None.

    `old` is the denominator of the ratio (None: the current log-probs), `reference` are log-probs
    of the reference, `mass` importance weights of tokens, `teacher` a teacher's log-probs, or its
    hidden states [U, size] where the whole distribution is compared.
    """

    old: Tensor | None
    reference: Tensor | None = None
    mass: Tensor | None = None
    teacher: Tensor | None = None


@dataclass(slots=True)
class Leaves:
    """What an update knows of whole leaves, each [leaves] or None.

    `log_ratio` is log s_i of sequence ratios; `pull` and `share` are those of `preference_loss`;
    `plus` and `minus` multiply the terms of a leaf's
    positive and negative advantages.
    """

    log_ratio: Tensor | None = None
    plus: Tensor | None = None
    minus: Tensor | None = None
    pull: Tensor | None = None
    share: Tensor | None = None


NONE = Leaves()


@dataclass(slots=True)
class Batch:
    """What one update sees: its packs, their constants, and counts of the rows they came from.

    `weights` are importance weights of leaves, `apart` the sums of `divergence` in the last update.
    """

    packs: list[Pack]
    fixed: list[Fixed]
    leaves: int
    preferred: Sequence[tuple[int, int]] = ()  # (better, worse) leaves
    weights: Tensor | None = None
    apart: Tensor | None = None
    metrics: Happened = field(default_factory=dict)

    @classmethod
    def of(cls, packs: list[Pack], rows: Rows) -> Batch:
        """The batch of some rows, with the engine's log-probs as the old ones."""
        return cls(packs, [Fixed(pack.old) for pack in packs], rows.leaves, rows.preferred)

    def weigh(self, how: LossSettings, over_ranks: Over) -> None:
        """Importance weights of tokens, or of leaves, and what is told of them.

        They are pi_old/pi_engine of each token, of all trained tokens of a leaf, in their bounds.
        """
        settings = how.weights
        olds = [fixed.old for fixed in self.fixed if fixed.old is not None]
        if settings is None or not olds:
            return
        differences = [
            (old - pack.old).where(own(pack), 0.0) for old, pack in zip(olds, self.packs)
        ]
        if settings.level == "sequence":
            differences = [by_leaf(self.packs, differences, self.leaves, over_ranks)]
        mask = settings.outside == "mask"
        found = [losses.importance(x, settings.high, settings.low, mask=mask) for x in differences]
        if settings.level == "sequence":
            self.weights = found[0][0]
        else:
            for fixed, (weight, _) in zip(self.fixed, found):
                fixed.mass = weight
        count = sum(len(weight) for weight, _ in found)
        for name, parts in zip(WEIGHTS, zip(*found)):
            total = torch.stack([part.float().sum() for part in parts]).sum()
            self.metrics[name] = (total, count)


def by_leaf(
    packs: Sequence[Pack],
    values: Sequence[Tensor],
    leaves: int,
    over_ranks: Over = torch.Tensor.detach,
) -> Tensor:
    """Sums over all trained tokens of each leaf of what `values` say of tokens, shape [leaves]."""
    total = torch.zeros(leaves, dtype=packs[0].plus.dtype, device=values[0].device)
    for pack, value in zip(packs, values):
        of_segment = torch.zeros_like(pack.plus).index_add(
            0, pack.segment, value.to(pack.plus.dtype)
        )
        total.index_add_(0, pack.leaf, of_segment[pack.pair])
    return over_ranks(total)


def own(pack: Pack) -> Tensor:
    """Which tokens the policy sampled itself, [T]: the others were put in by another."""
    return ~pack.held[pack.segment]


def of_leaves(
    how: LossSettings,
    batch: Batch,
    logps: Sequence[Tensor],
    over_ranks: Over = torch.Tensor.detach,
) -> tuple[Leaves, Happened]:
    """What an update needs of whole leaves, from the present log-probs of all packs.

    log s_i = mean over all trained tokens of leaf i of log(pi/pi_old).
    """
    packs, leaves, weights = batch.packs, batch.leaves, batch.weights
    metrics: Happened = {}
    out = Leaves(plus=weights, minus=weights)
    if how.prefers:
        metrics = _preferred(how, batch, logps, out, over_ranks)
    if how.ratio == "sequence":
        differences = [
            torch.zeros_like(logp) if f.old is None else logp.detach() - f.old
            for logp, f in zip(logps, batch.fixed)
        ]
        total = by_leaf(packs, differences, leaves, over_ranks)
        count = by_leaf(packs, [torch.ones_like(a) for a in differences], leaves, over_ranks)
        out.log_ratio = total / count.clamp(min=1)
    if how.gate is not None and how.gate.leaves:
        keep, metrics = _gated(how.gate, packs, logps, leaves, over_ranks)
        one = torch.ones_like(keep) if weights is None else weights
        out.plus, out.minus = one * keep if how.gate.of == "all" else one, one * keep
    return out, metrics


def _preferred(
    how: LossSettings, batch: Batch, logps: Sequence[Tensor], out: Leaves, over_ranks: Over
) -> Happened:
    """Put the pulls of all pairs into `out`; the margins, and how many pairs are in order."""
    packs = batch.packs
    given = zip(logps, batch.fixed)
    apart = [x.detach() - f.reference for x, f in given if f.reference is not None]
    total = by_leaf(packs, apart, batch.leaves, over_ranks)
    count = by_leaf(packs, [torch.ones_like(x) for x in apart], batch.leaves, over_ranks)
    pairs = preferences.as_pairs(batch.preferred, total)
    out.pull, share, margin = preferences.pulls(total, pairs, how.objective, how.beta)
    out.share = share / count.clamp(min=1)
    return {
        "preference_margin": (margin.sum(), len(pairs)),
        "preference_accuracy": ((margin > 0).float().sum(), len(pairs)),
    }


def _gated(
    gate: GateSettings,
    packs: Sequence[Pack],
    logps: Sequence[Tensor],
    leaves: int,
    over_ranks: Over,
) -> tuple[Tensor, Happened]:
    """(1 where a leaf is kept, else 0; the share of leaves that lose terms by it)."""
    differences = [(x.detach() - p.old).where(own(p), 0.0) for x, p in zip(logps, packs)]
    total = by_leaf(packs, differences, leaves, over_ranks)
    count = by_leaf(packs, [own(pack) for pack in packs], leaves, over_ranks)
    keep = losses.kept(total / count.clamp(min=1), gate.kl, gate.ratio)
    if gate.veto is not None:
        far = [(x < math.log(gate.veto)).to(x.dtype) for x in differences]
        keep &= by_leaf(packs, far, leaves, over_ranks) == 0
    terms = torch.zeros_like(total)
    for pack in packs:
        lost = pack.value != 0 if gate.of == "all" else pack.value < 0
        terms.index_add_(0, pack.leaf, lost.to(terms.dtype))
    lose = (over_ranks(terms) > 0) & ~keep
    return keep.float(), {"gated_leaves": (lose.float().sum(), leaves)}


def divergence(pack: Pack, logp: Tensor, fixed: Fixed, stop_ratio: float | None) -> Tensor:
    """[sum w ((r - 1) - log r), sum w, tokens outside] of the tokens that the policy sampled.

    r = pi/pi_old: its mean is k3 for KL(pi_old | pi), w_i the weights of aggregation.
    """
    old = logp.detach() if fixed.old is None else fixed.old
    mine = own(pack)
    weight = pack.weight[pack.segment].where(mine, 0.0)
    far = torch.zeros_like(mine)
    if stop_ratio is not None:
        far = ((logp.detach() - old).abs() > math.log(stop_ratio)) & mine
    difference = losses.k3(old, logp.detach())
    return torch.stack([(weight * difference).sum(), weight.sum(), far.sum()])


def stops(gate: GateSettings, found: Tensor) -> tuple[bool, float]:
    """(whether the update is not made, mean divergence), from the sums of all packs and ranks.

    An early stop as of PPO's codes (`target_kl` of Spinning Up, Stable-Baselines3; they stop at 1.5
    times it, and average over minibatch samples).
    """
    total, weight, far = found.tolist()
    mean = total / weight if weight else 0.0
    return bool(far) or (gate.stop_kl is not None and mean > gate.stop_kl), mean
