"""The search for the step that lost a run: which forks next, and what those so far say.

A fork is a new run from a position of the recorded one (how many of its steps it keeps). Where a
fork takes the very steps that were recorded, it is one of the positions behind them too: it counts
for the value of each, and once, at the last of them, for where the change is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from pydantic import Field

from hornbeam.blame.posterior import Array, Levels, Posterior
from hornbeam.settings import VersionedSettings
from hornbeam.stats import Interval, newcombe, wilson

RARE = 2  # tolerances: where V_0 is surely below that, no step lost the run


class BlameSettings(VersionedSettings):
    """How far a search for the step that lost a run may go, and when it is sure.

    At most `forks` new runs, begun up to `batch` at once (the first by twos); none once they have
    sampled `tokens`, and none that would be expected to pass that. Found is a step whose chance is
    at least `confidence` and the interval of whose drop leaves out 0, by forks right before and
    right behind it that were made once it was suspected. Drops below `tolerance` are none. `drift`
    is how far values lie from each other where nothing was lost: twice the standard deviation at
    1/2. A guide's values count as `prior` forks at each position. With `rise` the step that won it
    is looked for.
    """

    forks: int = Field(128, ge=1)
    tokens: int | None = Field(None, ge=0)
    batch: int = Field(4, ge=1)
    confidence: float = Field(0.9, gt=0.5, lt=1)
    tolerance: float = Field(0.03, ge=0, lt=1)
    drift: float = Field(0.1, ge=0, lt=1)
    prior: float = Field(0.0, ge=0)
    rise: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One recorded step: who took it, what was said, how many tokens were sampled."""

    agent: str = ""
    text: str = ""
    tokens: int = 1


@dataclass(frozen=True, slots=True)
class ForkOutcome:
    """What came of one fork: its success in [0, 1] (None: no verdict), the tokens it sampled, how
    many steps it `repeated` before it took another, and what that was.
    """

    success: float | None
    tokens: int = 1
    repeated: int = 0
    text: str = ""
    agent: str = ""


class DropSearch:
    """Ask and tell: positions of the next forks, what came of them. No clock, no draw but `seed`.

    `outcome` in [0, 1] is that of the run, `guide` [P] values of its positions in [0, 1].
    """

    def __init__(
        self,
        steps: Sequence[Step],
        settings: BlameSettings,
        outcome: float = 0.0,
        guide: Sequence[float | None] = (),
        seed: int | str = 0,
    ) -> None:
        self.steps, self.settings, self.outcome, self.seed = steps, settings, outcome, seed
        self.told: list[tuple[int, ForkOutcome]] = []  # (position, fork), in order
        self.asked = self.tokens = 0
        self.counts = np.zeros((2, len(steps)))  # [2, P] forks at or through, their successes
        self.suspect = 0  # the step that was all but sure last
        self.before = self.counts.copy()  # as they were when it became that
        sampled = [max(1, step.tokens) for step in steps]
        self.ahead = np.cumsum(sampled[::-1])[::-1].astype(float)  # [P] tokens behind
        self.expected = 0.0
        tolerance, drift = settings.tolerance, settings.drift
        self.levels = Levels(len(steps), tolerance, drift, self._turned(outcome))
        for position, value in enumerate(guide):
            if value is not None and settings.prior:
                self.levels.add(position, self._turned(value), settings.prior)
        self.posterior = self.levels.posterior()

    def _turned(self, success: float) -> float:
        """A rise of success is a drop of failure."""
        return 1 - success if self.settings.rise else success

    def ask(self) -> list[int]:
        """Positions of the next forks, at most a batch; none where the search has ended.

        All that were asked have been told by then.
        """
        early = max(2, self.asked // 2)  # while little is known, few forks are begun on it
        room = min(self.settings.batch, early, self.settings.forks - self.asked)
        if room < 1 or self.state() in ("found", "never"):
            return []
        positions: list[int] = []
        left = math.inf if self.settings.tokens is None else self.settings.tokens - self.tokens
        trial = self.levels.copy()
        counts, posterior = self.counts - self.before, self.posterior
        for k in range(room):
            at = self._next(posterior, counts)
            left -= self.cost(at)
            if left < 0:
                break
            positions.append(at)
            won = Random(f"{self.seed}:{self.asked}:{k}").random() < posterior.means[at]
            trial.add(at, float(won))
            counts[:, at] += 1, won
            posterior = trial.posterior() if k + 1 < room else posterior
        self.asked += len(positions)
        return positions

    def cost(self, position: int) -> float:
        """Tokens that a fork is expected to sample: as recorded, times what forks took of that."""
        ratio = (self.tokens + self.ahead[0]) / (self.expected + self.ahead[0])
        return float(self.ahead[position] * ratio)

    def _next(self, posterior: Posterior, counts: Array) -> int:
        """Where one more fork tells most a token; beside the step, where it is all but sure."""
        k = int(np.argmax(posterior.chances))
        if posterior.chances[0] > 0.5:  # whether it ever had a chance, the start tells
            return 0
        costs = np.array([self.cost(t) for t in range(len(self.steps))])
        if k and posterior.chances[k] >= self.settings.confidence:
            sides = [t for t in (k - 1, k) if t < len(self.steps)]
            n, x = counts
            spread = {t: (x[t] + 1) * (n[t] - x[t] + 1) / (n[t] + 2) ** 2 for t in sides}
            return max(sides, key=lambda t: spread[t] / ((n[t] + 1) * (n[t] + 2)) / costs[t])
        return int(np.argmax(posterior.information() / costs))

    def tell(self, position: int, fork: ForkOutcome) -> None:
        """What came of a fork from a position that was asked for."""
        self.told.append((position, fork))
        self.tokens += fork.tokens
        self.expected += float(self.ahead[position])
        if fork.success is None:
            return
        success = self._turned(min(max(fork.success, 0.0), 1.0))
        last = min(position + fork.repeated, len(self.steps))
        self.counts[:, position : last + 1] += np.array([[1.0], [success]])
        if last < len(self.steps):  # else it is the recorded run once more
            self.levels.add(last, success)
            self.posterior = self.levels.posterior()
        k = int(np.argmax(self.posterior.chances))
        if k != self.suspect and self.posterior.chances[k] >= self.settings.confidence:
            self.suspect, self.before = k, self.counts.copy()

    def state(self) -> str:
        """Of "found", "never" (no step lost it) and "undecided" what is so by now."""
        chances = self.posterior.chances
        k = int(np.argmax(chances))
        if chances[k] < self.settings.confidence:
            return "undecided"
        if not k:
            return "never" if self.value(0)[1][1] <= RARE * self.settings.tolerance else "undecided"
        return "found" if self.drop(k)[1][0] > 0 else "undecided"

    def value(self, position: int) -> tuple[float | None, Interval]:
        """Share of successes of the forks at or through a position, with Wilson's interval.

        At the end it is the outcome itself.
        """
        return self._share(position, self.counts)

    def _share(self, position: int, counts: Array) -> tuple[float | None, Interval]:
        if position == len(self.steps):
            last = self._turned(self.outcome)
            return last, (last, last)
        n, x = (float(v) for v in counts[:, position])
        return (x / n, wilson(x / n, int(n))) if n else (None, (0.0, 1.0))

    def mean(self, position: int) -> float:
        """V by the posterior; at the end the outcome."""
        if position == len(self.steps):
            return self._turned(self.outcome)
        return float(self.posterior.means[position])

    def drop(self, step: int) -> tuple[float, Interval]:
        """V before the step less V behind it, with Newcombe's interval.

        Of the suspect it is by the forks since then alone: those before are why it was chosen.
        Where one side has no fork yet, by the posterior means, and anything may be.
        """
        counts = self.counts - self.before if step == self.suspect else self.counts
        before, after = self._share(step - 1, counts), self._share(step, counts)
        if before[0] is None or after[0] is None:
            return self.mean(step - 1) - self.mean(step), (-1.0, 1.0)
        return before[0] - after[0], newcombe(before[0], before[1], after[0], after[1])
