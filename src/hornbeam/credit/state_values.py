"""Credit from values of states: Monte-Carlo values of actions and states, and differences of them.

The value of a state is the mean return of its visits (state_visits) with `n0` visits more of the
task's mean outcome, against the noise of states that were seen seldom: one seen once says nothing
of its own step without them. A node without a state is in a state of its own.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import Field

from hornbeam.credit.baselines import deviation, difference
from hornbeam.credit.returns import mean
from hornbeam.credit.state_visits import Visits, pooled, step_visits
from hornbeam.credit.states import StateMethod
from hornbeam.credit.step_rewards import counted
from hornbeam.tree.nodes import Column, Node, Tree, fold_up

Action = tuple[str, str]  # the state, and what was done in it


class ValueMethod(StateMethod):
    """Credit against V'(s) = (N mean_s(G) + n0 mean(R))/(N + n0), N visits of s, R the outcomes."""

    n0: float = Field(2.0, ge=0, allow_inf_nan=False)

    def values(
        self, parts: dict[str, list[Visits]], outcomes: Sequence[Column]
    ) -> dict[str, float]:
        """V' of every state, of its visits in parts."""
        whole = mean([value for outcome in outcomes for value in outcome]) or 0.0
        return {state: self._shrunk(pooled(found), whole) for state, found in parts.items()}

    def _shrunk(self, pool: Visits, whole: float) -> float:
        if not self.n0:
            return pool.mean
        return (pool.many * pool.mean + self.n0 * whole) / (pool.many + self.n0)


class RTMC(ValueMethod):
    """A(s, a) = Q(s, a) - V'(s), values by Monte Carlo over the first visits of rollouts.

    Wang et al. 2026, RTMC, arXiv 2604.11037: Q is the mean return of the first visit that each
    rollout paid to (s, a), V that of the first visits to all actions of s; all steps of one (s, a)
    share A. a is what the step called, or its text where it called nothing; a step that said
    nothing is an action of its own. `scale` = "group" divides by the std of A over all steps (over
    n), and leaves their mean.
    """

    scale: Literal["none", "group"] = "none"

    def credits(self, trees: Sequence[Tree], outcomes: Sequence[Column]) -> list[Column]:
        """What an action is worth against its state."""
        visits = [step_visits(t, out, self.gamma, self) for t, out in zip(trees, outcomes)]
        names = [_actions(tree, t) for t, tree in enumerate(trees)]
        first: dict[Action, list[Visits]] = {}
        for tree, own, done in zip(trees, visits, names):
            for i in _first(tree, done):
                if (each := own[i]) is not None:
                    first.setdefault(done[i], []).append(each)
        q = {action: pooled(parts) for action, parts in first.items()}
        states: dict[str, list[Visits]] = {}
        for (state, _), found in q.items():
            states.setdefault(state, []).append(found)
        v = self.values(states, outcomes)
        columns = [
            [
                difference(q[action].mean, v[action[0]]) if i and each is not None else None
                for i, (each, action) in enumerate(zip(own, done))
            ]
            for own, done in zip(visits, names)
        ]
        return columns if self.scale == "none" else _scaled(columns, visits)


class StateGAE(ValueMethod):
    """A_t = d_t + gamma lam A_(t+1), d_t = r_t + gamma V'(s_(t+1)) - V'(s_t), V' = 0 at the end.

    Generalised advantage estimation (Schulman et al. 2016, arXiv 1506.02438) over values of grouped
    states in place of a critic's (ours). lam = 0 is TD, lam = 1 is G - V'(s). A node has the mean
    over the scored leaves below it.
    """

    lam: float = Field(0.95, ge=0, le=1)

    def credits(self, trees: Sequence[Tree], outcomes: Sequence[Column]) -> list[Column]:
        """What each step changed in the value, and a share of what later ones did."""
        visits = [step_visits(t, out, self.gamma, self) for t, out in zip(trees, outcomes)]
        names = [[_state(n, t, i) for i, n in enumerate(x.nodes)] for t, x in enumerate(trees)]
        states: dict[str, list[Visits]] = {}
        for own, keys in zip(visits, names):
            for i, (each, key) in enumerate(zip(own, keys)):
                if i and each is not None:
                    states.setdefault(key, []).append(each)
        v = self.values(states, outcomes)
        return [
            self._column(tree, own, [v.get(key, 0.0) for key in keys])
            for tree, own, keys in zip(trees, visits, names)
        ]

    def _column(self, tree: Tree, visits: Sequence[Visits | None], v: Sequence[float]) -> Column:
        """The advantages of one tree, backwards, from the values of its nodes' states."""
        steps = counted(tree, self) or [None] * len(tree)

        def last(i: int) -> float | None:
            each = visits[i]
            return difference(each.mean, v[i]) if i and each is not None else None

        def before(i: int, below: list[float | None]) -> float | None:
            if not i or (each := visits[i]) is None:
                return None
            ahead, later = [], []
            for c, own in zip(tree.children(i), below):
                if (there := visits[c]) is not None:
                    ahead.append(there.many * v[c])
                    later.append(there.many * (own or 0.0))
            after = math.fsum(ahead) / each.many
            one = difference((steps[i] or 0.0) + self.gamma * after, v[i])
            return one + self.gamma * self.lam * math.fsum(later) / each.many

        return fold_up(tree, last, before)


def _state(node: Node, tree: int, i: int) -> str:
    """The key of a node's state; one of its own where none is known."""
    return f"s{node.state}" if node.state else f"{tree}.{i}"


def _actions(tree: Tree, number: int) -> list[Action]:
    """What every node did in which state."""
    out = []
    for i, node in enumerate(tree.nodes):
        said = "t" + node.text if node.text else f"{number}.{i}"
        if node.calls:
            said = "c" + json.dumps([[c.tool, c.arguments] for c in node.calls], sort_keys=True)
        out.append((_state(node, number, i), said))
    return out


def _first(tree: Tree, names: Sequence[Action]) -> Iterator[int]:
    """The nodes that did what no node above them did."""
    above: Counter[Action] = Counter()
    stack = [*tree.children(0)]
    while stack:
        i = stack.pop()
        if i < 0:  # all below node ~i is done
            above[names[~i]] -= 1
            continue
        if not above[names[i]]:
            yield i
        above[names[i]] += 1
        stack.append(~i)
        stack.extend(tree.children(i))


def _scaled(columns: list[Column], visits: Sequence[Sequence[Visits | None]]) -> list[Column]:
    """Divided by the std over all visits."""
    spread = deviation(
        [
            value
            for column, own in zip(columns, visits)
            for value, each in zip(column, own)
            if value is not None and each is not None
            for _ in range(each.many)
        ],
        "population",
    )
    return [[v / spread if v and spread else v for v in column] for column in columns]
