"""Particle filtering (Puri et al. 2025, arXiv 2502.01618): steps are sampled, then resampled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from pydantic import Field

from hornbeam.protocols import Fork, State
from hornbeam.search.strategy import Stepwise, restore
from hornbeam.search.values import failed, worth
from hornbeam.tree.nodes import Column, Tree

EDGE = 1e-7  # probabilities are kept this far from 0 and 1


@dataclass(slots=True)
class _Cloud:
    """Where every particle stands, the forks of its newest step, and how many have come back."""

    nodes: list[int]
    step: int = 0
    returned: int = 0


class Particle(Stepwise):
    """`particles` runs, one step each, then as many drawn anew among them by weight; and again.

    The weight of a run is its newest value v (`column`, in [-1, 1]) as a probability p = (v + 1)/2:
    w = softmax(logit(p) / temperature) over all particles. At temperature 1 it is p / (1 - p).
    Finished runs keep their weight and take part; a failed run has weight 0, and so has one without
    a value as long as another has one. Draws are `multinomial` (the paper's) or `systematic` (one
    draw for all, less noise). Ends when all drawn have finished, or after `depth` steps.
    """

    particles: int = Field(8, ge=1)
    temperature: float = Field(1.0, gt=0)
    resample: Literal["multinomial", "systematic"] = "multinomial"
    depth: int = Field(32, ge=1)

    def leaves(self) -> int:
        """The most episodes a grown tree can have: every particle, at every step."""
        return self.particles * self.depth

    def ask(self, tree: Tree, state: State) -> list[Fork]:
        """The forks that the newest step still lacks."""
        if state.memo is None:
            state.memo = _Cloud([0] * self.particles)
        forks = self._advance(state.memo, tree, state)
        return [fork for fork in forks if fork.episode not in state.asked]

    def may_fork(self, tree: Tree, state: State, node: int) -> bool:
        """At the newest step, until all of it has come back."""
        cloud: _Cloud | None = state.memo
        if cloud is None or not node:
            return True
        return tree.nodes[node].origin.episode >= cloud.step * self.particles

    def columns(self, tree: Tree) -> dict[str, Column]:
        """Column "kept": how many particles stand at a node in the end, `None` for none."""
        state = restore(tree, self.steps)
        self.ask(tree, state)
        kept: Column = [None] * len(tree)
        for i in state.memo.nodes:
            if i:
                kept[i] = (kept[i] or 0.0) + 1.0
        return {"kept": kept}

    def _advance(self, cloud: _Cloud, tree: Tree, state: State) -> list[Fork]:
        """The forks of the newest step that are out, once all before them have come back."""
        while True:
            forks = self._forks(cloud, tree)
            while cloud.returned < len(forks) and forks[cloud.returned].episode in state.results:
                cloud.returned += 1
            if cloud.returned < len(forks) or not forks:
                return forks[cloud.returned :]
            for fork in forks:
                cloud.nodes[fork.episode % self.particles] = state.results[fork.episode]
            cloud.step, cloud.returned = cloud.step + 1, 0
            weights = particle_weights(tree, cloud.nodes, self.column, self.temperature)
            if not any(weights):
                return []  # all have failed; `_forks` has none for them
            rng = Random(f"{tree.seed}:particle:{cloud.step}")
            drawn = _multinomial if self.resample == "multinomial" else systematic
            cloud.nodes = [cloud.nodes[k] for k in drawn(weights, rng)]

    def _forks(self, cloud: _Cloud, tree: Tree) -> list[Fork]:
        """One step from every particle that has neither finished nor failed."""
        if cloud.step >= self.depth:
            return []
        first = cloud.step * self.particles
        live = (k for k, i in enumerate(cloud.nodes) if not (tree.nodes[i].done or failed(tree, i)))
        return [Fork(first + k, cloud.nodes[k], 1) for k in live]


def particle_weights(
    tree: Tree, nodes: Sequence[int], column: str, temperature: float
) -> list[float]:
    """softmax(logit((v + 1)/2) / temperature); shape [particles], largest 1, not normalised."""
    values = [worth(tree, i, column) for i in nodes]
    known = [v for v in values if v is not None]
    if not known:
        return [0.0 if failed(tree, i) else 1.0 for i in nodes]
    logits = [None if v is None else _logit((v + 1) / 2) / temperature for v in values]
    top = max(logit for logit in logits if logit is not None)
    return [0.0 if logit is None else math.exp(logit - top) for logit in logits]


def systematic(weights: Sequence[float], rng: Random) -> list[int]:
    """Systematic resampling: the n places (k + u)/n on the cumulated weights, one u for all."""
    n, total = len(weights), math.fsum(weights)
    u, at, passed = rng.random(), 0, weights[0]
    drawn = []
    for k in range(n):
        while passed <= (k + u) / n * total and at + 1 < n:
            at += 1
            passed += weights[at]
        drawn.append(at)
    return drawn


def _multinomial(weights: Sequence[float], rng: Random) -> list[int]:
    return rng.choices(range(len(weights)), weights=weights, k=len(weights))


def _logit(p: float) -> float:
    p = min(max(p, EDGE), 1 - EDGE)
    return math.log(p / (1 - p))
