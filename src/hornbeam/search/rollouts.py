"""Monte-Carlo labels: whole runs from every step of a few trunks (StepWiser, arXiv 2508.19229).

Episode numbers are places: first the trunks, then the rollouts of the task, then those of every
step of every trunk. So a tree does not hang on the order in which episodes come back. A trunk that
is shorter than `depth` leaves gaps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from pydantic import Field, model_validator

from hornbeam.protocols import Fork, State, Strategy
from hornbeam.search.chunk_labels import ChunkLabel, chunk_label
from hornbeam.search.strategy import restore
from hornbeam.search.values import ended, worth
from hornbeam.tree.nodes import Column, Tree


@dataclass(slots=True)
class _Site:
    """A step of a trunk, or the task: its place among all, how many rollouts it was given of how
    many it may have, and what is known of its Q.
    """

    place: int
    most: int
    given: int = 0
    own: float | None = None  # the outcome, where the trunk ended


@dataclass(slots=True)
class _Rounds:
    """What was asked so far: sites by node, the newest round of forks, how many of it are told."""

    sites: dict[int, _Site] = field(default_factory=dict)
    forks: list[Fork] = field(default_factory=list)
    returned: int = 0
    out: bool = False  # all of it was asked


class Rollouts(Strategy):
    """Grow `trunks` episodes; then `rollouts` more from the task and from each of their steps.

    Q of a trunk's step is the mean reward, held to [0, 1], of the rollouts that were forked exactly
    there; Q of the task is that of its own rollouts, trunks not counted. Where a trunk ended
    nothing is rolled out: Q is its own outcome. Rollouts without a reward (failed ones) do not
    count. A step that failed, and steps after the first `depth` of a trunk, have no Q.

    With `adaptive` rollouts are grown `batch` at a site and round, and no more where none could
    change a label `settles` (with its `thresholds`), whatever the missing ones would earn. Labels
    by that rule are those of all `rollouts`; Q is the mean of fewer, and for abs_q no longer fair:
    a site stops at its first success.
    """

    trunks: int = Field(1, ge=1)
    rollouts: int = Field(16, ge=1)
    depth: int = Field(64, ge=1)
    adaptive: bool = False
    batch: int = Field(4, ge=1)
    settles: str = "abs_q"
    thresholds: dict[str, float] = {}

    @model_validator(mode="after")
    def _known(self) -> Self:
        chunk_label(self.settles, **self.thresholds)
        return self

    @property
    def reads(self) -> tuple[str, ...]:
        """Outcomes."""
        return ("reward",)

    @property
    def makes(self) -> tuple[str, ...]:
        """N and Q."""
        return ("visits", "q")

    def leaves(self) -> int:
        """The most episodes a grown tree can have."""
        return self.trunks + self.rollouts * (1 + self.trunks * self.depth)

    def ask(self, tree: Tree, state: State) -> list[Fork]:
        """The forks that the newest round still lacks."""
        if state.memo is None:
            state.memo = _Rounds({0: _Site(0, self.rollouts)})
            trunks = [Fork(trunk, 0) for trunk in range(self.trunks)]
            state.memo.forks = trunks + self._give(state.memo, [0])
        rounds: _Rounds = state.memo
        while True:
            while rounds.returned < len(rounds.forks):
                if rounds.forks[rounds.returned].episode not in state.results:
                    return self._unasked(rounds, state)
                rounds.returned += 1
            self._next(rounds, tree, state.results)
            if not rounds.forks:
                return []

    def may_fork(self, tree: Tree, state: State, node: int) -> bool:
        """At the steps of trunks."""
        return not node or tree.nodes[node].origin.episode < self.trunks

    def columns(self, tree: Tree) -> dict[str, Column]:
        """Columns "visits" (rollouts with a reward) and "q", at the task and the trunks' steps."""
        state = restore(tree)
        outcomes: dict[int, list[float]] = {0: []}
        for episode, end in sorted(state.results.items()):
            at = end if episode < self.trunks else state.asked[episode]
            if episode < self.trunks:
                outcomes |= {i: [] for i in tree.path(end)}
            reward = _outcome(tree, end)
            if reward is not None and at in outcomes:
                outcomes[at].append(reward)
        visits: Column = [None] * len(tree)
        q: Column = [None] * len(tree)
        for i, found in outcomes.items():
            visits[i] = float(len(found))
            q[i] = math.fsum(found) / len(found) if found else None
        return {"visits": visits, "q": q}

    def _unasked(self, rounds: _Rounds, state: State) -> list[Fork]:
        """What of the newest round was not asked yet."""
        if rounds.out:
            return []
        forks = [f for f in rounds.forks[rounds.returned :] if f.episode not in state.asked]
        rounds.out = not forks
        return forks

    def _next(self, rounds: _Rounds, tree: Tree, results: Mapping[int, int]) -> None:
        """The next round, all before it being told; empty at the end."""
        if len(rounds.sites) == 1:
            for trunk in range(self.trunks):
                self._enter(rounds, tree, trunk, results[trunk])
        wanted = self._open(rounds, tree, results) if self.adaptive else rounds.sites
        rounds.forks, rounds.returned, rounds.out = self._give(rounds, wanted), 0, False

    def _enter(self, rounds: _Rounds, tree: Tree, trunk: int, end: int) -> None:
        """The steps of a trunk become sites."""
        for step, i in enumerate(tree.path(end)):
            most = 0 if ended(tree, i) or step >= self.depth else self.rollouts
            own = _outcome(tree, i) if i == end else None
            rounds.sites[i] = _Site(1 + trunk * self.depth + step, most, own=own)

    def _give(self, rounds: _Rounds, nodes: Iterable[int]) -> list[Fork]:
        """The next rollouts of these sites, as far as they may have more."""
        forks = []
        for i in nodes:
            site = rounds.sites[i]
            until = min(site.most, site.given + self.batch) if self.adaptive else site.most
            forks += [Fork(self._episode(site, k), i) for k in range(site.given, until)]
            site.given = until
        return forks

    def _episode(self, site: _Site, k: int) -> int:
        return self.trunks + site.place * self.rollouts + k

    def _open(self, rounds: _Rounds, tree: Tree, results: Mapping[int, int]) -> list[int]:
        """Sites where rollouts could still change a label."""
        rule = chunk_label(self.settles, **self.thresholds)
        spans = {i: self._span(i, site, tree, results) for i, site in rounds.sites.items()}
        wanted: set[int] = set()
        for i in rounds.sites:
            pair = [i, tree.nodes[i].parent] if rule.relative else [i]
            if pair[-1] >= 0 and not _settled(rule, [spans[k] for k in pair]):
                wanted.update(pair)
        return [i for i in rounds.sites if i in wanted]

    def _span(self, i: int, site: _Site, tree: Tree, results: Mapping[int, int]) -> _Span:
        """What Q of a site can be, by the rollouts that it was given; at node i they began.

        One that left its path above it (`on_divergence`) says nothing of it.
        """
        ends = [results[self._episode(site, k)] for k in range(site.given)]
        ends = [end for end in ends if not i or i in tree.path(end)]
        found = [r for end in ends if (r := _outcome(tree, end)) is not None]
        found += [] if site.own is None else [site.own]
        missing, total = site.most - site.given, math.fsum(found)
        if not found:
            return _Span(0.0, 1.0, unknown=True, settled=not missing)
        count = len(found) + missing
        return _Span(total / count, (total + missing) / count)


@dataclass(frozen=True, slots=True)
class _Span:
    """Bounds of Q; `unknown` while no rollout has a reward, and for good where it is `settled`."""

    low: float
    high: float
    unknown: bool = False
    settled: bool = False


def _settled(rule: ChunkLabel, spans: Sequence[_Span]) -> bool:
    """Whether a label can no longer change; `spans` are of the chunk and, if it counts, its parent.

    Labels rise with Q and never with Q before, so the corners decide.
    """
    if any(span.settled for span in spans):
        return True
    if any(span.unknown for span in spans):
        return False
    own, before = spans[0], spans[-1]
    return rule.label(own.low, before.high) == rule.label(own.high, before.low)


def _outcome(tree: Tree, end: int) -> float | None:
    """The reward of an episode in [0, 1]; `None` where it has none."""
    reward = worth(tree, end, "reward")
    return None if reward is None else min(max(reward, 0.0), 1.0)
