"""The rules by which a Monte-Carlo tree search selects a child: UCT and PUCT."""

from __future__ import annotations

import math
from collections.abc import Sequence


def uct(means: Sequence[float], visits: Sequence[int], c: float) -> list[float]:
    """Q_a + c sqrt(ln(1 + sum_b N_b)/(1 + N_a)) for every child a (MASPRM, arXiv 2510.24803)."""
    spread = math.log1p(sum(visits))
    return [q + c * math.sqrt(spread / (1 + n)) for q, n in zip(means, visits)]


def puct(
    means: Sequence[float],
    visits: Sequence[int],
    priors: Sequence[float],
    c: float,
    least: int = 0,
) -> list[float]:
    """Q_a + c P_a sqrt(sum_b N_b)/(1 + N_a) for every child a (AlphaZero, Silver et al. 2017).

    The sum is taken as `least` at least: with 1 the prior counts among new children already.
    """
    spread = math.sqrt(max(least, sum(visits)))
    return [q + c * p * spread / (1 + n) for q, n, p in zip(means, visits, priors)]


def shares(weights: Sequence[float | None]) -> list[float]:
    """Weights as probabilities over the children; equal ones where any is missing or all are 0."""
    known = [max(w, 0.0) for w in weights if w is not None]
    total = math.fsum(known)
    if len(known) < len(weights) or total == 0:
        return [1 / len(weights)] * len(weights)
    return [w / total for w in known]
