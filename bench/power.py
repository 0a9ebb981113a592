"""How many seeds and questions tell a difference apart: power of a paired comparison over seeds.

The figure of a seed is a difference of two arms. Sizes are of Student's two-sided test at 5 %, by
the normal approximation with Guenther's correction (The American Statistician 35, 1981):
n = (z_a + z_b)^2 (sd/d)^2 + z_a^2/2.
"""

from __future__ import annotations

import math
from statistics import NormalDist

Z_TEST = NormalDist().inv_cdf(0.975)


def seeds_needed(sd: float, difference: float, power: float = 0.8) -> int:
    """Seeds that find a difference with that power where figures of seeds spread by `sd`; 2 up."""
    z = Z_TEST + NormalDist().inv_cdf(power)
    return max(2, math.ceil((z * sd / difference) ** 2 + Z_TEST**2 / 2))


def smallest_found(sd: float, seeds: int, power: float = 0.8) -> float:
    """The smallest difference that so many seeds find with that power; infinite below 3 seeds."""
    free = seeds - Z_TEST**2 / 2
    z = Z_TEST + NormalDist().inv_cdf(power)
    return z * sd / math.sqrt(free) if free > 0 else math.inf


def questions_needed(
    sd: float, questions: int, share: float, seeds: int, difference: float, power: float = 0.8
) -> int | None:
    """Questions a seed, so that `seeds` of them find the difference; None where none are enough.

    `sd` was measured over seeds with so many `questions`, answered right in about `share`. Two
    arms' independent draws have variance 2 p (1 - p) / questions of it; the rest is the seeds' own
    and no question takes it away.
    """
    one = 2 * share * (1 - share)
    own = max(0.0, sd**2 - one / questions)
    z = Z_TEST + NormalDist().inv_cdf(power)
    free = (seeds - Z_TEST**2 / 2) * (difference / z) ** 2 - own
    return math.ceil(one / free) if free > 0 else None
