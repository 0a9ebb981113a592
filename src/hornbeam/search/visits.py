"""The running sums of a Monte-Carlo tree search.

W, N and V of a node: sum of the outcomes backed up through it, how many there were, and its own
value when it was new. Outcomes are in [-1, 1] (log-likelihoods are below). Out: simulations under
way that passed it; each counts as a visit that lost (virtual loss).
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hornbeam.protocols import Fork
from hornbeam.tree.nodes import Tree

LOST = -1.0  # the outcome of a run without a reward; of others that are lost see `Sums.lost`


@dataclass(frozen=True, slots=True)
class Simulation:
    """One simulation under way: nodes from the task down to where it stands; the forks it asked.

    Without forks it ends at a node where an episode ended, and costs nothing.
    """

    path: tuple[int, ...]
    forks: tuple[Fork, ...] = ()


def kept_to(tree: Tree, path: Sequence[int], end: int) -> list[int]:
    """The first part of a path, down to the last node that a run to node `end` grew from.

    All of it, but where an agent outside left its path (`on_divergence`).
    """
    if tree.nodes[end].parent == path[-1]:
        return [*path]
    above = {0, *tree.path(end)}
    return [*path[: max(k for k, i in enumerate(path) if i in above) + 1]]


@dataclass(slots=True)
class Sums:
    """All that a search knows, as of the last simulation that it took in. Keys are node indices.

    `children` are in the order they came. `asked`: how many children of a node were sampled or are
    being sampled, duplicates too. `lost`: the outcome of a simulation under way, of a failed step
    and of one without a value: -1, or the least value that was seen below it.
    """

    total: defaultdict[int, float] = field(default_factory=lambda: defaultdict(float))  # W
    visits: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))  # N
    value: dict[int, float] = field(default_factory=dict)  # V
    out: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    children: defaultdict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    asked: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    twins: dict[Any, int] = field(default_factory=dict)  # (parent, what was said) -> child
    flight: deque[Simulation] = field(default_factory=deque)
    begun: int = 0  # simulations, those in flight too
    episodes: int = 0  # asked so far
    answered: bool = False  # whether an answer was reached
    anchor: float = math.inf  # the root value that has stayed put
    still: int = 0  # for how many simulations
    lost: float = LOST

    def stand(self, nodes: Sequence[int], virtual: bool) -> tuple[list[float], list[int]]:
        """(Q, N) of nodes, what is out counted as lost visits.

        Q = W/N, or (W + V)/(N + 1) with a virtual visit; at a node never visited V.
        """
        out, visits, total, value = self.out, self.visits, self.total, self.value
        counts = [visits[i] + out[i] for i in nodes]
        sums = [total[i] + self.lost * out[i] for i in nodes]
        own = [value.get(i) for i in nodes]
        means = [
            (w + v) / (n + 1) if virtual and v is not None else w / n if n else v or 0.0
            for w, v, n in zip(sums, own, counts)
        ]
        return means, counts

    def values_of(self, values: Sequence[float | None]) -> list[float]:
        """The values of new steps, `None` being lost."""
        self.lost = min([self.lost, *(v for v in values if v is not None)])
        return [self.lost if v is None else v for v in values]

    def best(self, nodes: Sequence[int], virtual: bool) -> int:
        """The node of the highest Q, the oldest of equals."""
        means, _ = self.stand(nodes, virtual)
        return nodes[means.index(max(means))]

    def begin(self, simulation: Simulation) -> None:
        """Send a simulation out."""
        self.flight.append(simulation)
        self.begun += 1
        self.episodes += len(simulation.forks)
        self.asked[simulation.path[-1]] += len(simulation.forks)
        for i in simulation.path:
            self.out[i] += 1

    def take_in(self, path: Sequence[int], outcome: float) -> None:
        """Back up the outcome of the oldest simulation out: N += 1, W += outcome along `path`."""
        for i in self.flight.popleft().path:
            self.out[i] -= 1
        for i in path:
            self.visits[i] += 1
            self.total[i] += outcome

    def settle(self, tolerance: float) -> None:
        """Count for how long the root value has stayed within `tolerance` of where it was."""
        value = self.total[0] / self.visits[0]
        put = abs(value - self.anchor) < tolerance
        self.anchor, self.still = (self.anchor, self.still + 1) if put else (value, 0)

    def add(self, tree: Tree, parent: int, i: int, merge: bool) -> int:
        """Enter node i below `parent`; returns it, or with `merge` the twin it is counted as."""
        if merge:
            node = tree.nodes[i]
            said = (node.agent, node.scope, node.tokens.tobytes(), node.done, str(node.calls))
            twin = self.twins.setdefault((parent, said), i)
            if twin != i:
                return twin
        self.children[parent].append(i)
        return i
