"""Branching growth in rounds: Tree-GRPO (Ji et al. 2025, arXiv 2509.21240) and its node choices.

Nodes are named by (episode, step), not by index, and every draw has a seed of its own, so a tree
does not hang on the order in which episodes come back.
"""

from __future__ import annotations

import math
from random import Random
from types import MappingProxyType
from typing import Literal, Self

from pydantic import Field, model_validator

from hornbeam.errors import ScoreError
from hornbeam.protocols import Fork, State, Strategy
from hornbeam.search.values import worth
from hornbeam.tree.nodes import Tree

GUIDED = ("guide", "predicted_mixed")  # the picks that read a guide
FORKS = "forks"  # the column that says, at the task, how many branches a tree gets
MOST = 4  # times its even share, the most branches that one tree gets


class Branch(Strategy):
    """Grow `trunks` chains; then, `rounds` times, `nodes` new branches in each trunk.

    Every branch starts at a step drawn from those of its trunk that do not end an episode, and
    runs to its end: M(LN + 1) episodes for M trunks, L rounds, N nodes. A round begins when all
    before it have come back. In one round a step is drawn again only once every other was.

    Which steps: `random` draws uniformly (Tree-GRPO). `entropy` takes the highest mean negative
    log-prob of the sampled tokens (an estimate of the turn's entropy from one sample), minus
    `penalty` for each branch that left the step already (AT2PO, arXiv 2601.04767). `mixed` takes
    the highest V(1 - V), V the mean of column `reward` over the leaves below, each taken into
    [0, 1]: the steps below which the outcome is least settled. `predicted_mixed` tells that before
    there are leaves (TRACE, arXiv 2606.11119): V = (w v + sum of rewards) / (w + leaves), v =
    (value + 1) / 2 by the guide of `column` and w its `weight`, in leaves. `guide` takes the
    highest value itself; steps without one come last. Whoever grows the tree writes values and
    rewards of an episode before it is told; where nothing is known the draw is uniform. Ties are
    drawn.

    A trunk without such a step (its episode had one step) grows a fresh episode from the task in
    the place of each branch, so the number of leaves stays; later rounds draw from those too. With
    `stop` a trunk all of whose steps are predicted hopeless, V below `stop`, or solved, above 1 -
    `stop`, is not branched: others are in its place, and where all are so the tree is grown.

    With `spread` the budget of a training step's trees, `trunks` x `nodes` branches each, goes to
    the tasks that are predicted mixed (search/spread): a tree grows so many branches, from
    whichever of its trunks, as column "forks" says at the task.
    """

    later = MappingProxyType({"column": "value", "weight": 2.0, "stop": 0.0, "spread": False})

    trunks: int = Field(2, ge=1)
    nodes: int = Field(2, ge=1)
    rounds: int = Field(1, ge=0)
    pick: Literal["random", "entropy", "mixed", "guide", "predicted_mixed"] = "random"
    penalty: float = Field(0.1, ge=0)
    column: str = Field("value", min_length=1)
    weight: float = Field(2.0, gt=0)
    stop: float = Field(0.0, ge=0, lt=0.5)
    spread: bool = False

    @model_validator(mode="after")
    def _picked(self) -> Self:
        given = self.model_fields_set
        for key, picks in (("column", GUIDED), ("weight", GUIDED[1:]), ("stop", GUIDED[1:])):
            if key in given and self.pick not in picks:
                listed = " or ".join(f'"{pick}"' for pick in picks)
                raise ValueError(f"{key} = {getattr(self, key)!r} is read by pick = {listed}")
        if self.spread and (self.rounds != 1 or self.pick != "predicted_mixed"):
            raise ValueError('spread takes rounds = 1 and pick = "predicted_mixed"')
        return self

    @property
    def reads(self) -> tuple[str, ...]:
        """The column that it is guided by."""
        return (self.column,) if self.pick in GUIDED else ()

    def reads_at(self, tree: Tree, node: int) -> bool:
        """At steps that a branch may leave."""
        last, at = self.trunks * ((self.rounds - 1) * self.nodes + 1), tree.nodes[node]
        return self.rounds > 0 and at.origin.episode < last and not at.done

    @property
    def logprobs(self) -> bool:
        """Entropy is estimated by them."""
        return self.pick == "entropy"

    def ask(self, tree: Tree, state: State) -> list[Fork]:
        """What the current round still lacks; O(1) while episodes are out and at the end."""
        asked = len(state.asked)
        if asked >= (self._grown(tree) if self.spread else self.leaves()):
            return []
        if asked < self.trunks:
            return [Fork(e, 0) for e in range(self.trunks) if e not in state.asked]
        if self.spread:
            ready = asked > self.trunks or len(state.results) >= asked
            forks = self.spread_forks(tree) if ready else []
            return [fork for fork in forks if fork.episode not in state.asked]
        turn, begun = divmod(asked - self.trunks, self.trunks * self.nodes)
        if not begun and len(state.results) < asked:
            return []
        return [fork for fork in self._round(tree, turn) if fork.episode not in state.asked]

    def may_fork(self, tree: Tree, state: State, node: int) -> bool:
        """At what was grown before the last round, until that has begun."""
        last = self.trunks * ((self.rounds - 1) * self.nodes + 1)
        asked = len(state.asked) < self.leaves() and (
            not self.spread or FORKS not in tree.columns or len(state.asked) < self._grown(tree)
        )
        return not node or (asked and self.rounds > 0 and tree.nodes[node].origin.episode < last)

    def leaves(self) -> int:
        """How many episodes a grown tree has: M(LN + 1); with `spread`, or a `stop`, the most."""
        return self.trunks * (self.rounds * self.nodes * (MOST if self.spread else 1) + 1)

    def _grown(self, tree: Tree) -> int:
        """How many episodes this tree is to have, where they are spread; trunks till it is told."""
        forks = tree.columns.get(FORKS, [None])[0]
        return self.trunks + round(forks or 0)

    def spread_forks(self, tree: Tree) -> list[Fork]:
        """The branches of this tree, the steps least settled first."""
        many = self._grown(tree) - self.trunks
        steps = _inner_steps(tree, self.trunks)
        wanted = self._worth(tree, self.trunks, steps)
        Random(f"{tree.seed}:branch:spread").shuffle(steps)
        steps.sort(key=lambda i: -wanted[i])
        places = [steps[n % len(steps)] if steps else 0 for n in range(many)]
        return [Fork(self.trunks + n, node) for n, node in enumerate(places)]

    def mixedness(self, tree: Tree) -> float:
        """V(1 - V) of a task, V = (w v + sum of rewards) / (w + trunks), v the mean over all steps.

        0.25 where neither is known.
        """
        steps = _inner_steps(tree, self.trunks)
        said = [v for i in steps if (v := self._chance(tree, i)) is not None]
        total, count = _sums(tree, self.trunks).get(-1, (0.0, 0))
        weight = self.weight if said else 0.0
        v = (weight * math.fsum(said) / max(1, len(said)) + total) / (weight + count or 1)
        return v * (1 - v) if weight + count else 0.25

    def _round(self, tree: Tree, turn: int) -> list[Fork]:
        """All forks of one round, from the tree as it stood when the round began."""
        first = self.trunks * (turn * self.nodes + 1)
        steps = _inner_steps(tree, first)
        wanted = self._worth(tree, first, steps)
        forks: list[Fork] = []
        orders, used = [], [0] * self.trunks
        for trunk in range(self.trunks):
            own = [i for i in steps if self._trunk(tree.nodes[i].origin.episode) == trunk]
            Random(f"{tree.seed}:branch:{trunk}:{turn}").shuffle(own)
            own.sort(key=lambda i: -wanted.get(i, 0.0))  # stable: the shuffle settles ties
            orders.append(own)
        live = [trunk for trunk, own in enumerate(orders) if not self._stops(own, wanted)]
        for number in range(self.trunks * self.nodes if live else 0):
            trunk = number // self.nodes
            trunk = trunk if trunk in live else live[number % len(live)]
            own, n = orders[trunk], used[trunk]
            forks.append(Fork(first + number, own[n % len(own)] if own else 0))
            used[trunk] += 1
        return forks

    def _stops(self, own: list[int], wanted: dict[int, float]) -> bool:
        """Whether all steps of a trunk are predicted hopeless or solved: V(1 - V) tells it."""
        least = self.stop * (1 - self.stop)
        return bool(self.stop and own) and all(-math.inf < wanted[i] < least for i in own)

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
        if self.pick == "guide":
            said = {i: worth(tree, i, self.column) for i in steps}
            return {i: -math.inf if v is None else v for i, v in said.items()}
        if self.pick == "predicted_mixed":
            return self._predicted(tree, first, steps)
        return {}

    def _predicted(self, tree: Tree, first: int, steps: list[int]) -> dict[int, float]:
        """V(1 - V) of the prediction and the leaves so far; without either it is not known."""
        sums, out = _sums(tree, first), {}
        for i in steps:
            said = self._chance(tree, i)
            total, count = sums.get(i, (0.0, 0))
            weight = 0.0 if said is None else self.weight
            v = (weight * (said or 0.0) + total) / (weight + count or 1)
            out[i] = v * (1 - v) if weight + count else -math.inf
        return out

    def _chance(self, tree: Tree, i: int) -> float | None:
        """What the guide says of a step, taken into [0, 1]."""
        said = worth(tree, i, self.column)
        if said is not None and abs(said) > 1:
            episode, step = _place(tree, i)
            raise ScoreError(
                f"column {self.column!r} is {said:.3g} at episode {episode}, step {step}:"
                " predicted_mixed takes values in [-1, 1]; of a guide by log-probs give its scale"
            )
        return None if said is None else (said + 1) / 2


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
    """V of each step: the mean of those rewards, where there are some."""
    return {i: total / count for i, (total, count) in _sums(tree, first).items()}


def _sums(tree: Tree, first: int) -> dict[int, tuple[float, int]]:
    """(sum of rewards in [0, 1], number) of the scored leaves below of episodes before `first`.

    Of all of them under -1.

    Leaves are taken in order of episode, so sums do not hang on the order of nodes.
    """
    reward = tree.columns.get("reward", [])
    sums: dict[int, tuple[float, int]] = {}
    leaves = [i for i in tree.leaves() if tree.nodes[i].origin.episode < first]
    for leaf in sorted(leaves, key=lambda i: _place(tree, i)):
        value = reward[leaf] if reward else None
        if value is None:
            continue
        for i in (-1, *tree.path(leaf)):
            total, count = sums.get(i, (0.0, 0))
            sums[i] = (total + min(max(value, 0.0), 1.0), count + 1)
    return sums
