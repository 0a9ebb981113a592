"""Credit's second move, against whom: outcomes of one set in, advantages of the same length out.

Equal outcomes give exactly 0.0, not rounding noise over a tiny spread. Outcomes count as equal when
they differ by at most 2^-20 of the largest magnitude, eight units in float32's last place, so that
0.3 from a float32 model equals 0.1 + 0.2; what sums of about 1 leave in float64 where they cancel
(0.1 + 0.2 - 0.3) equals 0. There is no epsilon in any denominator.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

Std = Literal["sample", "population"]
EQUAL = 2.0**-20  # largest relative difference of outcomes that count as equal
NOTHING = 2.0**-50  # a difference that float64 leaves where numbers of about 1 cancel


def equal(rewards: Sequence[float]) -> bool:
    """Whether all outcomes are the same up to rounding; fewer than two always are."""
    if len(rewards) < 2:
        return True
    low, high = min(rewards), max(rewards)
    return high - low <= max(EQUAL * max(abs(low), abs(high)), NOTHING)


def difference(a: float, b: float) -> float:
    """What a has before b; 0 where they are equal up to rounding."""
    return 0.0 if equal([a, b]) else a - b


def reaches(reward: float, bound: float) -> bool:
    """Whether an outcome is as large as the bound, up to the same rounding."""
    return reward >= bound or equal([reward, bound])


def centred(rewards: Sequence[float]) -> list[float]:
    """A_i = R_i - mean(R); 0 where all are equal."""
    if equal(rewards):
        return [0.0] * len(rewards)
    mean = math.fsum(rewards) / len(rewards)
    return [reward - mean for reward in rewards]


def standardised(rewards: Sequence[float], std: Std = "sample") -> list[float]:
    """A_i = (R_i - mean(R)) / std(R), std over n-1 (sample) or n; 0 where all are equal."""
    return scaled(centred(rewards), std)


def scaled(differences: Sequence[float], std: Std = "sample") -> list[float]:
    """A_i = x_i / std(x) for x_i whose mean is 0 already, so that a 0 stays exactly 0."""
    scale, spread = _spread(differences, std)
    return [value / scale / spread if scale else 0.0 for value in differences]


def deviation(rewards: Sequence[float], std: Std = "sample") -> float:
    """std(R), over n-1 (sample) or n; 0 where all are equal."""
    scale, spread = _spread(centred(rewards), std)
    return scale * spread


def _spread(differences: Sequence[float], std: Std) -> tuple[float, float]:
    """(largest |x|, std(x) over it), so that squares neither vanish nor overflow."""
    scale = max(map(abs, differences), default=0.0)
    if not scale:
        return 0.0, 0.0
    over = len(differences) - 1 if std == "sample" else len(differences)
    return scale, math.sqrt(math.fsum((value / scale) ** 2 for value in differences) / over)


def leave_one_out(rewards: Sequence[float]) -> list[float]:
    """A_i = R_i - mean of the others = n/(n-1) (R_i - mean(R)); 0 for a set of one."""
    n = len(rewards)
    return [n / (n - 1) * value for value in centred(rewards)] if n > 1 else [0.0] * n


def weighted(
    rewards: Sequence[float], weights: Sequence[float], std: Std = "sample"
) -> list[float]:
    """A_i = (R_i - m) / s, m = sum w R / sum w, s^2 = sum w (R - m)^2 / N; 0 where all are equal.

    N = sum w for the population, sum w - (sum w^2) / (sum w) for the sample: the unbiased one for
    weights that say how much, not how often. Neither depends on the scale of the weights, which are
    positive, and equal ones give `standardised`.
    """
    if equal(rewards):
        return [0.0] * len(rewards)
    most = max(weights)
    share = [weight / most for weight in weights]
    total = math.fsum(share)
    mean = math.fsum(w * reward for w, reward in zip(share, rewards)) / total
    differences = [reward - mean for reward in rewards]
    scale = max(map(abs, differences))
    unit = [value / scale for value in differences]
    over = total - math.fsum(w * w for w in share) / total if std == "sample" else total
    spread = math.sqrt(math.fsum(w * value * value for w, value in zip(share, unit)) / over)
    return [value / spread for value in unit]
