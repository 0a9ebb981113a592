"""What a search for the step that lost a run has found: the step, its drop, the values around it.

Steps are counted from 1: step k of a run leads from position k - 1 to position k.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from hornbeam.blame.search import DropSearch, ForkOutcome, Step
from hornbeam.stats import Interval

SHOWN = 5  # texts that successful forks said instead


@dataclass(frozen=True, slots=True)
class Value:
    """V at a position: chance of success after so many steps, by the posterior; the share of
    successes of its own forks with Wilson's interval (`share` None: no fork), how many there were;
    and the chance that the step which led here is the one.
    """

    position: int
    value: float
    share: float | None
    interval: Interval
    forks: int
    successes: float
    chance: float
    agent: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Said:
    """What successful forks from before the step said there, and how many of them did."""

    text: str
    count: int
    agent: str = ""


@dataclass(frozen=True, slots=True)
class Blame:
    """Which step lost a run (with `rise`: won it), and why the search ended.

    `step` is None where it is undecided or no step did it; `likeliest` is the best guess then, of
    posterior chance `chance`. `why`: "found", "never" (no step did it: V was next to nothing all
    along), "undecided" (the budget ended first). `drop` is V before less V behind the step, by the
    forks right there that did not make it suspect, with its interval at 95 %. `by_agent` is the sum
    of all drops of V by who took the step. `failed` forks had no verdict: they are paid, and say
    nothing.
    """

    step: int | None
    why: str
    likeliest: int
    chance: float
    agent: str
    drop: float
    interval: Interval
    said: str
    instead: tuple[Said, ...]
    values: tuple[Value, ...]
    by_agent: dict[str, float]
    outcome: float
    rise: bool
    forks: int
    tokens: int
    failed: int

    def reason(self) -> str:
        """The finding in one line."""
        start, low, high = self.values[0], *self.interval
        verb, change = ("won", "rise") if self.rise else ("lost", "drop")
        span = f"{abs(self.drop):.2f} [{low:.2f}, {high:.2f}]"
        paid = f"{self.forks} forks, {self.tokens:,} sampled tokens"
        if self.why == "found":
            who = f" ({self.agent})" if self.agent else ""
            return f"step {self.step}{who} {verb} it: {change} {span}; {paid}"
        if self.why == "never":
            of = f"of {start.forks} forks from the start {start.successes:g} succeeded"
            return f"no step {verb} it: {of}; {paid}"
        return (
            f"undecided: step {self.likeliest} is likeliest (chance {self.chance:.2f}), {change}"
            f" {span}; {paid}"
        )


def blame_of(search: DropSearch) -> Blame:
    """What a search has found by now."""
    chances, why, steps = search.posterior.chances, search.state(), search.steps
    k = 1 + int(np.argmax(chances[1:]))
    drop, interval = search.drop(k)
    means = [search.mean(t) for t in range(len(steps) + 1)]
    by_agent: dict[str, float] = {}
    for before, after, step in zip(means, means[1:], steps):
        by_agent[step.agent] = by_agent.get(step.agent, 0.0) + before - after
    return Blame(
        step=k if why == "found" else None,
        why=why,
        likeliest=k,
        chance=float(chances[k]),
        agent=steps[k - 1].agent,
        drop=drop,
        interval=interval,
        said=steps[k - 1].text,
        instead=_instead(search, k - 1),
        values=tuple(_value(search, t, means[t]) for t in range(len(steps) + 1)),
        by_agent=by_agent,
        outcome=search.outcome,
        rise=search.settings.rise,
        forks=len(search.told),
        tokens=search.tokens,
        failed=sum(fork.success is None for _, fork in search.told),
    )


def _value(search: DropSearch, t: int, mean: float) -> Value:
    """V at position t, as success, whichever way was looked."""
    share, (low, high) = search.value(t)
    n, won = (float(v) for v in search.counts[:, t]) if t < len(search.steps) else (0.0, 0.0)
    if search.settings.rise:
        mean, won, low, high = 1 - mean, n - won, 1 - high, 1 - low
        share = None if share is None else 1 - share
    step = search.steps[t - 1] if t else Step()
    chance = float(search.posterior.chances[t]) if t else 0.0
    return Value(t, mean, share, (low, high), int(n), won, chance, step.agent, step.text)


def _instead(search: DropSearch, position: int) -> tuple[Said, ...]:
    """What forks that left the run right there said, those that did better; most often first."""

    def better(fork: ForkOutcome) -> bool:
        success = fork.success
        return success is not None and (success < 0.5 if search.settings.rise else success >= 0.5)

    own = search.steps[position].text
    left = [f for t, f in search.told if t + f.repeated == position and better(f)]
    said = Counter((f.text, f.agent) for f in left if f.text != own)
    return tuple(Said(text, count, agent) for (text, agent), count in said.most_common(SHOWN))
