"""Where along a run its chance of success fell: an exact posterior over one change of level.

Position t = 0..T of a run of T steps is what it was after t steps, V_t its chance of success from
there, V_T its outcome. Hypothesis k = 1..T says that step k lost it: positions before k have level
a, those from k on level b, and a - b is at least `tolerance` and at least the drop b - V_T that is
then left for the last step; under k = T that one is a - V_T. Hypothesis 0 says that no level was
above `tolerance`. V_t itself is Beta(s m, s (1 - m)) around its level m, s = 1 / drift^2 - 1, so
that values may drift; without drift it is m. Of n forks at t (x their successes) the likelihood is

    L_t(m) = B(x + s m, n - x + s (1 - m)) / B(s m, s (1 - m)),    or m^x (1 - m)^(n - x),

a beta-binomial one (Barry & Hartigan 1993 for the partition; Beta-Binomial, Skellam 1948). Levels
have Jeffreys' prior, on a grid even in arcsin sqrt m, so that all sums are exact on it.

Axes: `K` = T + 1 hypotheses, `P` = T positions to fork at, `G` levels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
GRID = 40
NONE = 0.1  # the prior chance that no step lost it


@dataclass(frozen=True, slots=True)
class Posterior:
    """What the forks so far say. `chances` [K]: of each hypothesis; `values` [P, K]: the mean of
    V_t under each.
    """

    chances: Array
    values: Array

    @property
    def means(self) -> Array:
        """The mean of V_t, shape [P]."""
        return self.values @ self.chances

    def information(self) -> Array:
        """How much one fork at t tells of which step it was, if one was, in nats, shape [P].

        I = H(sum_k p_k v_tk) - sum_k p_k H(v_tk), H that of a coin (Lindley 1956), over k > 0.
        """
        chances, values = self.chances[1:] / self.chances[1:].sum(), self.values[:, 1:]
        found: Array = _entropy(values @ chances) - _entropy(values) @ chances
        return np.maximum(found, 0.0)


class Levels:
    """The likelihood of each position at each level, and the posterior that they give."""

    def __init__(self, steps: int, tolerance: float, drift: float, outcome: float = 0.0) -> None:
        m = self.levels = np.sin((np.arange(GRID) + 0.5) / GRID * math.pi / 2) ** 2
        drop = m[:, None] - m
        self.pairs = (drop >= np.maximum(tolerance, m - outcome)).astype(float)  # [a, b]
        self.last = (m - outcome >= tolerance).astype(float)  # [a], where the last step lost it
        self.low = m <= max(tolerance, m[0])
        self.strength = 1 / drift**2 - 1 if drift else math.inf
        self.forks, self.won, self.rows = np.zeros(steps), np.zeros(steps), np.zeros((steps, GRID))

    def copy(self) -> Levels:
        """The same, to try out what forks would tell."""
        new = object.__new__(Levels)
        new.__dict__.update(self.__dict__)
        new.forks, new.won, new.rows = self.forks.copy(), self.won.copy(), self.rows.copy()
        return new

    def add(self, position: int, success: float, weight: float = 1.0) -> None:
        """One fork at a position, its success in [0, 1]; or `weight` forks of that mean."""
        self.forks[position] += weight
        self.won[position] += weight * success
        self.rows[position] = self._row(self.forks[position], self.won[position])

    def _row(self, n: float, x: float) -> Array:
        """Logarithm of L(m) of n forks with x successes, shape [G]."""
        m, s = self.levels, self.strength
        if math.isinf(s):
            exact: Array = x * np.log(m) + (n - x) * np.log1p(-m)
            return exact
        up = [_log_rise(s * level, x) for level in m]
        down = [_log_rise(s * (1 - level), n - x) for level in m]
        drifting: Array = np.array(up) + np.array(down) - _log_rise(s, n)
        return drifting

    def posterior(self) -> Posterior:
        """Every hypothesis' chance, and the values under it."""
        before = np.vstack([np.zeros(GRID), np.cumsum(self.rows, axis=0)])  # [K, G]: t < k
        after = before[-1] - before  # t >= k
        tops = before.max(axis=1), after.max(axis=1)
        a, b = np.exp(before - tops[0][:, None]), np.exp(after - tops[1][:, None])
        a, b = a * (b @ self.pairs.T), b * (a @ self.pairs)  # weights of both levels
        prior = np.full(len(a), (1 - NONE) / (len(a) - 1) / max(1.0, self.pairs.sum()))
        a[-1] = np.exp(before[-1] - tops[0][-1]) * self.last
        prior[-1] = (1 - NONE) / (len(a) - 1) / max(1.0, self.last.sum())
        a[0] = np.exp(before[-1] - tops[1][0]) * self.low
        prior[0] = NONE / self.low.sum()
        sums = np.maximum(a.sum(axis=1), 1e-300)
        weights = np.log(sums * prior) + tops[0] + tops[1]
        chances = np.exp(weights - weights.max())
        high, rest = a @ self.levels / sums, b @ self.levels / sums  # [K], mean levels
        rest[0] = high[0]
        k = np.arange(len(weights))
        mean: Array = np.where(k[:-1, None] < k, high, rest)  # [P, K]
        return Posterior(chances / chances.sum(), self._held(mean))

    def _held(self, mean: Array) -> Array:
        """Mean of V_t, given that of its level: its own forks draw it away from that."""
        if math.isinf(self.strength):
            return mean
        n, x, s = self.forks[:, None], self.won[:, None], self.strength
        drawn: Array = (x + s * mean) / (n + s)
        return drawn


def _log_rise(a: float, n: float) -> float:
    """Logarithm of Gamma(a + n) / Gamma(a)."""
    return math.lgamma(a + n) - math.lgamma(a)


def _entropy(p: Array) -> Array:
    p = np.clip(p, 1e-12, 1 - 1e-12)
    out: Array = -p * np.log(p) - (1 - p) * np.log1p(-p)
    return out
