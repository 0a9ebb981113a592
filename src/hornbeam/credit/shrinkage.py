"""Baselines of tasks shrunk towards the other tasks of the batch, by how much is noise."""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum

from hornbeam.credit.baselines import deviation, difference, equal, leave_one_out


def shrunk(groups: Sequence[Sequence[float]]) -> list[list[float]]:
    """A_ij = R_ij - b_ij, b_ij = (1 - l_i) mean_{k != j} R_ik + l_i m_i, for every task's outcomes.

    Zeng et al. 2025, arXiv 2511.03710, eq. 10 and 13-16: m_i is the mean of the other tasks' means,
    l_i = (n - 1)/n v_i/(v_i + s_i) for n tasks, v_i the mean over the others of var_k/N_k (sample
    variances), s_i that of (mean_k - m_i)^2. Nothing of b_ij depends on R_ij. Others of one outcome
    tell no variance. A task of one outcome has b = m_i, a batch of one task gives RLOO.
    """
    means = [fsum(group) / len(group) if group else None for group in groups]
    noise = [deviation(g) ** 2 / len(g) if len(g) > 1 else None for g in groups]
    out = []
    for i, group in enumerate(groups):
        others = [mean for k, mean in enumerate(means) if k != i and mean is not None]
        within = [var for k, var in enumerate(noise) if k != i and var is not None]
        plain = leave_one_out(group)
        if not others or not group:
            out.append(plain)
            continue
        prior = fsum(others) / len(others)
        share = _share(others, within, prior) if len(group) > 1 else 1.0
        above = [difference(reward, prior) for reward in group]
        out.append([(1 - share) * own + share * a for own, a in zip(plain, above)])
    return out


def _share(others: Sequence[float], within: Sequence[float], prior: float) -> float:
    """l_i, of the other tasks' means and the noise of those."""
    v = fsum(within) / len(within) if within else 0.0
    if not v:
        return 0.0
    s = 0.0 if equal(others) else fsum((mean - prior) ** 2 for mean in others) / len(others)
    n = len(others) + 1
    return (n - 1) / n * v / (v + s)
