"""Preferences between the runs of one tree: pairs of leaves of which one has the greater advantage.

Of two leaves that part at a fork all that stands above it is the same, so it cancels: siblings are
pairs for nothing. A pair's margin is

    m = [log pi(y+) - log pi_ref(y+)] - [log pi(y-) - log pi_ref(y-)]

summed over the trained tokens of both paths. The loss is a mean over all pairs of an update, and
its gradient goes through sum_i g_i log pi(y_i) with g_i = sum over the pairs of leaf i of
+-(d loss / d m) held constant: linear in the leaves below a node, so that a pack is exact and a
node above a fork gets of a pair exactly 0.

Left out: pairs over trees, and runs of equal advantage.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from hornbeam.train.pack import Pack


def dpo(margin: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """-log sigmoid(beta m), and its slope -beta sigmoid(-beta m), of every pair.

    DPO, Rafailov et al. 2023, arXiv 2305.18290, Eq. 7. TRL's "sigmoid".
    """
    return -F.logsigmoid(beta * margin), -beta * torch.sigmoid(-beta * margin)


def ipo(margin: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """(m - 1/(2 beta))^2, and its slope 2 (m - 1/(2 beta)), of every pair.

    IPO, Azar et al. 2023, arXiv 2310.12036, Eq. 17. TRL's "ipo" has means over tokens in m; here as
    in the paper they are sums.
    """
    off = margin - 1 / (2 * beta)
    return off.square(), 2 * off


def pulls(
    apart: Tensor, pairs: Tensor, objective: str, beta: float
) -> tuple[Tensor, Tensor, Tensor]:
    """(d loss / d log pi(y_i), what each leaf has of the loss), both [leaves]; margins [pairs].

    `apart` [leaves] is log pi(y_i) - log pi_ref(y_i), `pairs` [pairs, 2] (better, worse) leaves.
    """
    better, worse = pairs.unbind(1)
    margin = apart[better] - apart[worse]
    loss, slope = (ipo if objective == "ipo" else dpo)(margin, beta)
    count, zero = max(len(pairs), 1), torch.zeros_like(apart)
    pull = zero.index_add(0, better, slope / count).index_add(0, worse, -slope / count)
    half = loss / (2 * count)
    return pull, zero.index_add(0, better, half).index_add(0, worse, half), margin


def preference_loss(pack: Pack, logp: Tensor, pull: Tensor, share: Tensor) -> Tensor:
    """A pack's part of the loss, with the gradient sum_i g_i grad(log pi(y_i)).

    `pull` is g, `share` a leaf's part of the loss divided by its tokens, both [leaves].
    """
    zero = torch.zeros_like(pack.plus)
    sums = zero.index_add(0, pack.segment, logp)
    count = zero.index_add(0, pack.segment, torch.ones_like(logp.detach()))
    moves = (pull[pack.leaf] * sums[pack.pair]).sum()
    return moves - moves.detach() + (share[pack.leaf] * count[pack.pair]).sum()


def as_pairs(preferred: Sequence[tuple[int, int]], like: Tensor) -> Tensor:
    """(better, worse) leaves as a tensor [pairs, 2] beside another."""
    return torch.tensor(preferred, dtype=torch.int64, device=like.device).reshape(-1, 2)
