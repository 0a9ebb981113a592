"""Credit for the best of k answers: what a leaf adds to the maximum over k of its group.

g_i are a group's n outcomes, I its subsets of k (all of them where n < k), max I the largest
outcome in one. All means over subsets are exact, from outcomes in order: P(max I is the j-th
smallest) = C(j - 1, k - 1) / C(n, k).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Literal, Self

from pydantic import Field, model_validator

from hornbeam.credit.baselines import equal
from hornbeam.credit.returns import UNIT, exact
from hornbeam.protocols import Leaf, PathMethod


class PassK(PathMethod):
    """`baseline` = "group": A_i = (mean_{I with i} max I - mean_I max I) / std_I max I.

    Chen et al. 2025, "Pass@k Training", arXiv 2508.10751, by their formulas for outcomes 0 and 1;
    k = 1 is `grpo` with std = "population". Where every subset holds the same maximum, A is 0.

    "others": A_i = k mean_{I with i} (max I - max of the others of I), never negative: with n
    independent leaves an unbiased gradient of the expected maximum of k (PKPO, Walder and Karkhanis
    2025, arXiv 2505.15201, s^(loo-1); theirs is summed, this is averaged over n leaves). k = n
    gives the best leaf n times what it has before the second (arXiv 2503.19595), which is
    verl's `grpo_passk` without the factor n; that may also divide by the group's std.
    """

    k: int = Field(4, ge=1)
    baseline: Literal["group", "others"] = "group"

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if self.baseline == "others" and self.k < 2:
            raise ValueError("baseline = 'others' needs others: set k to 2 or more")
        return self

    def advantages(self, groups: Sequence[Sequence[Leaf]]) -> list[list[float]]:
        """Within each group."""
        how = shared if self.baseline == "group" else added
        return [how([leaf.reward for leaf in group], self.k) for group in groups]


def shared(rewards: Sequence[float], k: int) -> list[float]:
    """(mean of max I over the subsets with i - that over all) / its std over all subsets."""
    n, k = len(rewards), min(k, len(rewards))
    if equal(rewards):
        return [0.0] * n
    order, g, top = _ordered(rewards, k)
    whole = math.comb(n, k)
    # with i at place j: it is the largest, or the m-th is, of which k - 2 more are below
    later = [g[m] * _choose(m - 1, k - 2) for m in range(n)]
    above = [*accumulate(reversed(later), initial=0)][n - 1 :: -1]
    total = sum(x * c for x, c in zip(g, top))
    differences = [(total, x * whole) for x in g]
    spread = _std([(b - a) / (whole * UNIT) for a, b in differences], [c / whole for c in top])
    out = [0.0] * n
    for j, i in enumerate(order):
        over = (g[j] * top[j] + above[j]) * n - total * k
        out[i] = over / (k * whole * UNIT) / spread if spread else 0.0
    return out


def added(rewards: Sequence[float], k: int) -> list[float]:
    """K times the mean of (max I - max of the others of I) over the subsets with i."""
    n, k = len(rewards), min(k, len(rewards))
    if equal(rewards):
        return [0.0] * n
    order, g, top = _ordered(rewards, k)
    before = accumulate((g[m] * _choose(m, k - 2) for m in range(n)), initial=0)
    under = math.comb(n - 1, k - 1) * UNIT
    out = [0.0] * n
    for j, (i, below) in enumerate(zip(order, before)):
        out[i] = k * ((g[j] * top[j] - below) / under)
    return out


def _ordered(rewards: Sequence[float], k: int) -> tuple[list[int], list[int], list[int]]:
    """(indices by outcome, outcomes as whole numbers, subsets in which each is the largest)."""
    order = sorted(range(len(rewards)), key=lambda i: rewards[i])
    top = [_choose(j, k - 1) for j in range(len(order))]
    return order, [exact(rewards[i]) for i in order], top


def _choose(n: int, k: int) -> int:
    return math.comb(n, k) if 0 <= k <= n else 0


def _std(differences: Sequence[float], share: Sequence[float]) -> float:
    """Sqrt of sum p x^2, whose squares neither vanish nor overflow."""
    scale = max(map(abs, differences))
    if not scale:
        return 0.0
    return scale * math.sqrt(math.fsum(p * (x / scale) ** 2 for p, x in zip(share, differences)))
