"""Credit from states: steps that were taken in the same state of one task are set against another.

The state of a step is the field `state` of its node (tree-format): equal text, equal state. Of
ordinary rollouts as of trees; a node counts once for each scored leaf below it (visits). A node
without a state is in no group.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from hornbeam.credit.state_visits import (
    StateStd,
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
