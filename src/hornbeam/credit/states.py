"""Credit from states: steps that were taken in the same state of one task are set against another.

The state of a step is the field `state` of its node (tree-format): equal text, equal state. Of
ordinary rollouts as of trees; a node counts once for each scored leaf below it (visits). A node
without a state is in no group.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import Field

from hornbeam.credit.state_visits import (
    StateStd,
    Visits,
    episode_shares,
    pooled,
    pools,
    relative,
    step_visits,
)
from hornbeam.protocols import NodeMethod
from hornbeam.tree.nodes import Column, Tree


class StateMethod(NodeMethod):
    """Credit by the returns that followed a state; `gamma` discounts them, a step at a time.

    The return of a whole rollout is discounted by `returns` alone, as elsewhere.
    """

    gamma: float = Field(1.0, ge=0, le=1)

    @property
    def stateful(self) -> bool:
        """Always."""
        return True


class GiGPO(StateMethod):
    """A(n) = mean_{i in L(n)} A_i + weight (G(n) - mean_s)/std_s over the visits of state s of n.

    Feng et al. 2025, GiGPO, arXiv 2505.10978, eq. 3 and 6-8: A_i = (R_i - mean)/std over the task's
    rollouts, G the discounted return from the step on. `std` = "none" is the paper's F_norm = 1. A
    state seen once (at one node) has step advantage 0. The step's part counts N/(N + n0) of itself
    where its state has N visits (shrinkage against the noise of rare states, ours).
    """

    weight: float = Field(1.0, allow_inf_nan=False)
    std: StateStd = "sample"
    n0: float = Field(0.0, ge=0, allow_inf_nan=False)

    def credits(self, trees: Sequence[Tree], outcomes: Sequence[Column]) -> list[Column]:
        """The rollouts' advantage, and the step's against the others of its state."""
        columns = episode_shares(trees, outcomes, self.std)
        visits = [step_visits(t, out, self.gamma, self) for t, out in zip(trees, outcomes)]
        found = pools(trees, visits)
        states = {state: pooled(parts) for state, parts in found.items() if len(parts) > 1}
        for tree, column, own in zip(trees, columns, visits):
            for i, (node, here) in enumerate(zip(tree.nodes, own)):
                pool = states.get(node.state)
                if i and here is not None and pool is not None:
                    share = self.weight * pool.many / (pool.many + self.n0)
                    column[i] = (column[i] or 0.0) + share * relative(here, pool, self.std)
        return columns


class HGPO(StateMethod):
    """A(n) = sum_k w_k A_k(n), w_k = (k + 1)^alpha over the sum of those, k = 1, ..., history + 1.

    He et al. 2026, HGPO, arXiv 2602.22817, by the authors' code: A_k = (G - mean)/std (over n by
    default) among the visits that share the last k states, the present one included; groups of one
    and those where A_k is 0 have no part. `base` adds the whole rollout's advantage as k = 0; there
    is none otherwise.
    """

    history: int = Field(2, ge=0)
    alpha: float = Field(1.0, allow_inf_nan=False)
    std: StateStd = "population"
    base: bool = False

    def credits(self, trees: Sequence[Tree], outcomes: Sequence[Column]) -> list[Column]:
        """Each step against the others of its state, and against those with more of its past."""
        columns = episode_shares(trees, outcomes, self.std)
        visits = [step_visits(t, out, self.gamma, self) for t, out in zip(trees, outcomes)]
        groups: dict[tuple[str, ...], list[Visits]] = {}
        pasts = [self._pasts(tree) for tree in trees]
        for own, keys in zip(visits, pasts):
            for each, past in zip(own, keys):
                if each is not None:
                    for k in range(len(past)):
                        groups.setdefault(past[k:], []).append(each)
        found = {key: pooled(parts) for key, parts in groups.items() if len(parts) > 1}
        for column, own, keys in zip(columns, visits, pasts):
            for i, (each, past) in enumerate(zip(own, keys)):
                if i and each is not None:
                    parts = [(1.0, column[i] or 0.0)] if self.base else []
                    for key in (past[k:] for k in range(len(past))):
                        if key in found:
                            weight = (len(key) + 1) ** self.alpha
                            parts.append((weight, relative(each, found[key], self.std)))
                    there = [(w, a) for w, a in parts if a]
                    over = math.fsum(w for w, _ in there)
                    column[i] = math.fsum(w * a for w, a in there) / over if there else 0.0
        return columns

    def _pasts(self, tree: Tree) -> list[tuple[str, ...]]:
        """The last states of every node, its own last; what is before one unknown is left out."""
        out: list[tuple[str, ...]] = [()]
        for node in tree.nodes[1:]:
            past = (*out[node.parent], node.state)[-self.history - 1 :]
            out.append(past if node.state else ())
        return out
