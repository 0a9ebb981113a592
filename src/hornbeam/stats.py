"""Figures over questions and seeds, with intervals: Hit@k, Wilson, Newcombe, bootstrap, Student.

McNemar's test too. One number a question, shape [questions]: what its answer is worth, usually 1
or 0. Left out: corrections for many comparisons.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hornbeam.errors import DataError

DRAWS = 10_000  # resamples of a bootstrap
BLOCK = 1 << 20  # indices drawn at once

Values = Sequence[float]
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Hits:
    """Means over questions: the first answer right, one of the first k, one of all."""

    hit_1: float
    hit_k: float
    oracle: float

    @property
    def gap(self) -> float:
        """What a better choice among the first k could still gain: Hit@k - Hit@1."""
        return self.hit_k - self.hit_1


def hits(ranked: Sequence[Values], k: int) -> Hits:
    """Hit@1, Hit@k and oracle (as in arXiv 2510.24803).

    `ranked` holds for each question what its answers are worth, the chosen one first; a question
    without an answer is worth 0. Raises `DataError` for no questions and for k below 1.
    """
    if k < 1:
        raise DataError(f"Hit@{k}: k must be at least 1")
    _check(ranked, "Hit@k")

    def mean(most: int | None) -> float:
        return sum(max(worths[:most], default=0.0) for worths in ranked) / len(ranked)

    return Hits(mean(1), mean(k), mean(None))


def bootstrap(
    values: Values, *, level: float = 0.95, draws: int = DRAWS, seed: int = 0
) -> Interval:
    """Percentile bootstrap interval of the mean (Efron & Tibshirani 1993, chapter 13).

    Questions are drawn with replacement `draws` times; the (1 - level) / 2 and (1 + level) / 2
    quantiles of their means are the bounds. Equal arguments give equal bounds.
    """
    _check(values, "a bootstrap")
    data: NDArray[np.float64] = np.asarray(values, dtype=np.float64)
    rng = np.random.default_rng(seed)
    rows = max(1, BLOCK // len(data))
    means = [
        data[rng.integers(len(data), size=(min(rows, draws - done), len(data)))].mean(axis=1)
        for done in range(0, draws, rows)
    ]
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def paired_bootstrap(
    ours: Values, theirs: Values, *, level: float = 0.95, draws: int = DRAWS, seed: int = 0
) -> Interval:
    """Bootstrap interval of mean(ours - theirs), question by question."""
    _paired(ours, theirs)
    differences = [a - b for a, b in zip(ours, theirs)]
    return bootstrap(differences, level=level, draws=draws, seed=seed)


def mcnemar(ours: Sequence[bool], theirs: Sequence[bool]) -> float:
    """Two-sided p-value of the exact McNemar test (McNemar 1947).

    Of n questions that only one side got right, `few` went to the side that got fewer:
    p = min(1, 2 * sum_{i <= few} C(n, i) / 2^n), and 1 where n = 0.
    """
    _paired(ours, theirs)
    won = sum(a and not b for a, b in zip(ours, theirs))
    lost = sum(b and not a for a, b in zip(ours, theirs))
    n, few = won + lost, min(won, lost)
    ways, total = 1, 0
    for i in range(few + 1):
        total += ways
        ways = ways * (n - i) // (i + 1)
    return min(1.0, 2 * total / (1 << n))


def wilson(share: float, count: int, *, z: float = 1.959963984540054) -> Interval:
    """Wilson's score interval of a share of `count` trials (Wilson 1927), at 95 % by default.

    It has a width at 0 and 1 too, and stays within them. Raises `DataError` for no trials and for
    what is no share.
    """
    if count < 1:
        raise DataError("Wilson's interval needs at least one trial")
    if not 0 <= share <= 1:
        raise DataError(f"Wilson's interval needs a share of 0 to 1, not {share}")
    part = z * z / count
    middle = (share + part / 2) / (1 + part)
    half = z / (1 + part) * math.sqrt(share * (1 - share) / count + part / count / 4)
    low = 0.0 if share == 0 else max(0.0, middle - half)
    return low, 1.0 if share == 1 else min(1.0, middle + half)


def newcombe(first: float, one: Interval, second: float, other: Interval) -> Interval:
    """Newcombe's interval of a difference of two shares, from Wilson's of each (1998, method 10).

    first - second -+ sqrt of the squared distances to the bounds that face each other:
    sqrt((first - l1)^2 + (u2 - second)^2) down, sqrt((u1 - first)^2 + (second - l2)^2) up.
    """
    low = math.hypot(first - one[0], other[1] - second)
    high = math.hypot(one[1] - first, second - other[0])
    return first - second - low, first - second + high


def interval(values: Values) -> Interval:
    """The 95 % interval of a mean: Wilson's where all values are 0 or 1, else the bootstrap's."""
    _check(values, "an interval")
    if {*values} <= {0.0, 1.0}:
        return wilson(sum(values) / len(values), len(values))
    return bootstrap(values)


def student(values: Values, *, level: float = 0.95) -> Interval:
    """Student's interval of a mean over few runs: mean +- t sd / sqrt(n), sd with n - 1.

    Raises `DataError` for fewer than two values.
    """
    if len(values) < 2:
        raise DataError("Student's interval needs at least two values")
    _check(values, "Student's interval")
    n = len(values)
    mean = math.fsum(values) / n
    spread = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1) / n)
    half = _t_quantile(level, n - 1) * spread
    return mean - half, mean + half


def _t_quantile(level: float, freedom: int) -> float:
    """The t with P(|T| <= t) = level, by halving an interval that holds it."""
    low, high = 0.0, 1.0
    while _t_within(high, freedom) < level:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        if _t_within(middle, freedom) < level:
            low = middle
        else:
            high = middle
    return high


def _t_within(t: float, freedom: int) -> float:
    """P(|T| <= t) for a whole number of degrees of freedom (Abramowitz & Stegun 26.7.3, 26.7.4)."""
    angle = math.atan(t / math.sqrt(freedom))
    cosine, sine = math.cos(angle), math.sin(angle)
    odd = freedom % 2
    term = cosine if odd else 1.0
    total = 0.0 if freedom == 1 else term
    for j in range(3 if odd else 2, freedom - 1, 2):
        term *= cosine * cosine * (j - 1) / j
        total += term
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


def _paired(ours: Sequence[object], theirs: Sequence[object]) -> None:
    if len(ours) != len(theirs):
        raise DataError(f"pairs are expected: {len(ours)} questions here, {len(theirs)} there")


def _check(values: Sequence[object], what: str) -> None:
    if not len(values):
        raise DataError(f"{what} needs at least one question")
    if any(isinstance(v, float) and not math.isfinite(v) for v in values):
        raise DataError(f"{what} needs finite values")


def named(row: Mapping[str, Any]) -> tuple[str, str]:
    """Name and value of an evaluation's figure: a share in per cent, or what `figure` says it is.

    >>> named({"accuracy": 0.25}), named({"accuracy": 0.25, "figure": "mean reward"})
    (('accuracy', '25.0 %'), ('mean reward', '0.250'))
    """
    value = float(row["accuracy"])
    name = row.get("figure")
    return (str(name), f"{value:.3f}") if name else ("accuracy", f"{100 * value:.1f} %")


def between(row: Mapping[str, Any]) -> str:
    """The interval of an evaluation's figure in its words, nothing where the row holds none.

    >>> between({"accuracy": 0.5, "interval": [0.25, 0.75]})
    ' [25.0, 75.0]'
    """
    if not (held := row.get("interval")):
        return ""
    scale, digits = (1, 3) if row.get("figure") else (100, 1)
    low, high = (f"{scale * float(end):.{digits}f}" for end in held)
    return f" [{low}, {high}]"
