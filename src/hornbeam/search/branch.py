"""Branching growth in rounds: Tree-GRPO (Ji et al. 2025, arXiv 2509.21240) and its node choices.

Nodes are named by (episode, step), not by index, and every draw has a seed of its own, so a tree
does not hang on the order in which episodes come back.
"""

from __future__ import annotations

import math
from random import Random
from typing import Literal

from pydantic import Field

from hornbeam.protocols import Fork, State, Strategy
from hornbeam.tree.nodes import Tree


class Branch(Strategy):
    """Grow `trunks` chains; then, `rounds` times, `nodes` new branches in each trunk.

    Every branch starts at a step drawn from those of its trunk that do not end an episode, and
    runs to its end: M(LN + 1) episodes for M trunks, L rounds, N nodes. A round begins when all
    before it have come back. In one round a step is drawn again only once every other was.

    Which steps: `random` draws uniformly (Tree-GRPO). `entropy` takes the highest mean negative
    log-prob of the sampled tokens (an estimate of the turn's entropy from one sample), minus
    `penalty` for each branch that left the step already (AT2PO, arXiv 2601.04767). `mixed` takes
    the highest V(1 - V), V the mean of column `reward` over the leaves below, each taken into
    [0, 1]: the steps below which the outcome is least settled. Whoever grows the tree writes the
    reward of an episode before it is told; without any reward V is unknown and the draw uniform.
    Ties are drawn.

    A trunk without such a step (its episode had one step) grows a fresh episode from the task in
    the place of each branch, so the number of leaves stays; later rounds draw from those too.
    """

    trunks: int = Field(2, ge=1)
    nodes: int = Field(2, ge=1)
    rounds: int = Field(1, ge=0)
    pick: Literal["random", "entropy", "mixed"] = "random"
    penalty: float = Field(0.1, ge=0)

    @property
    def logprobs(self) -> bool:
        """Entropy is estimated by them."""
        return self.pick == "entropy"

    def ask(self, tree: Tree, state: State) -> list[Fork]:
        """What the current round still lacks; O(1) while episodes are out and at the end."""
        asked = len(state.asked)
        if asked >= self.leaves():
            return []
        if asked < self.trunks:
            return [Fork(e, 0) for e in range(self.trunks) if e not in state.asked]
        turn, begun = divmod(asked - self.trunks, self.trunks * self.nodes)
        if not begun and len(state.results) < asked:
            return []
        return [fork for fork in self._round(tree, turn) if fork.episode not in state.asked]

    def may_fork(self, tree: Tree, state: State, node: int) -> bool:
        """At what was grown before the last round, until that has begun."""
        last = self.trunks * ((self.rounds - 1) * self.nodes + 1)
        asked = len(state.asked) < self.leaves()
        return not node or (asked and self.rounds > 0 and tree.nodes[node].origin.episode < last)

    def leaves(self) -> int:
        """How many episodes a grown tree has: M(LN + 1)."""
        return self.trunks * (self.rounds * self.nodes + 1)

    def _round(self, tree: Tree, turn: int) -> list[Fork]:
        """All forks of one round, from the tree as it stood when the round began."""
        first = self.trunks * (turn * self.nodes + 1)
        steps = _inner_steps(tree, first)
        worth = self._worth(tree, first, steps)
        forks = []
        for trunk in range(self.trunks):
            own = [i for i in steps if self._trunk(tree.nodes[i].origin.episode) == trunk]
            Random(f"{tree.seed}:branch:{trunk}:{turn}").shuffle(own)
            own.sort(key=lambda i: -worth.get(i, 0.0))  # stable: the shuffle settles ties
            for n in range(self.nodes):
                node = own[n % len(own)] if own else 0
                forks.append(Fork(first + trunk * self.nodes + n, node))
        return forks

    def _trunk(self, episode: int) -> int:
        """In which trunk's name an episode was grown."""
        if episode < self.trunks:
            return episode
        return (episode - self.trunks) // self.nodes % self.trunks

    def _worth(self, tree: Tree, first: int, steps: list[int]) -> dict[int, float]:
        """How much each step is wanted; nothing where the draw is uniform."""
        if self.pick == "entropy":
            return {i: _surprise(tree, i) - self.penalty * _branches(tree, i, first) for i in steps}
        if self.pick == "mixed":
            values = _values(tree, first)
            return {i: v * (1 - v) for i in steps if (v := values.get(i)) is not None}
        return {}


def _place(tree: Tree, i: int) -> tuple[int, int]:
    """What names a node whatever its index."""
    return tree.nodes[i].origin.episode, tree.nodes[i].origin.step


def _inner_steps(tree: Tree, first: int) -> list[int]:
    """Steps of the episodes before `first` after which one was sampled, by episode and step.

    Where nothing but the end came (finish "end": the ask failed), it would only come again.
    """
    went_on = (node for node in tree.nodes if node.origin.episode < first and node.finish != "end")
    inner = {node.parent for node in went_on} - {-1, 0}
    return sorted((i for i in inner if not tree.nodes[i].done), key=lambda i: _place(tree, i))


def _branches(tree: Tree, i: int, first: int) -> int:
    """How many branches left step i before episode `first`, the one that went on not counted."""
    return sum(tree.nodes[c].origin.episode < first for c in tree.children(i)) - 1


def _surprise(tree: Tree, i: int) -> float:
    """Mean negative log-prob of the sampled tokens of step i; 0 without any."""
    logprobs = tree.nodes[i].logprobs
    return -math.fsum(logprobs) / len(logprobs) if logprobs else 0.0


def _values(tree: Tree, first: int) -> dict[int, float]:
    """V of each step: mean reward in [0, 1] of the scored leaves below of episodes before `first`.

    Leaves are taken in order of episode, so sums do not hang on the order of nodes.
    """
    reward = tree.columns.get("reward", [])
    sums: dict[int, tuple[float, int]] = {}
    leaves = [i for i in tree.leaves() if tree.nodes[i].origin.episode < first]
    for leaf in sorted(leaves, key=lambda i: _place(tree, i)):
        value = reward[leaf] if reward else None
        if value is None:
            continue
        for i in tree.path(leaf):
            total, count = sums.get(i, (0.0, 0))
            sums[i] = (total + min(max(value, 0.0), 1.0), count + 1)
    return {i: total / count for i, (total, count) in sums.items()}
