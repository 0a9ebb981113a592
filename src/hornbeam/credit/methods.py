"""Credit methods by name: each a pair of moves, up the tree and against whom, with its paper.

Three kinds. A *path method* gives every scored leaf one advantage, which all steps of its path
share. A *node method* gives every step a credit of its own from the values of tree nodes. A *scope
method* gives one to every delegation and one to the main agent (see scoped).

Left out: clips, ratios and aggregation, which belong to the loss (DAPO, GSPO and CISPO take their
advantages from `grpo`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random
from typing import Literal

from pydantic import Field

from hornbeam.credit.anchored import PVPO, Anchor
from hornbeam.credit.baselines import (
    Std,
    centred,
    deviation,
    difference,
    leave_one_out,
    scaled,
    standardised,
    weighted,
)
from hornbeam.credit.gdpo import GDPO
from hornbeam.credit.passk import PassK
from hornbeam.credit.returns import child_mean, counts, leaf_mean, mean
from hornbeam.credit.scoped import aligned, rollouts
from hornbeam.credit.state_values import RTMC, StateGAE
from hornbeam.credit.state_visits import episode_shares
from hornbeam.credit.states import HGPO, GiGPO
from hornbeam.credit.step_rewards import to_go
from hornbeam.errors import DataError
from hornbeam.protocols import Leaf, NodeMethod, PathMethod, ScopeMethod
from hornbeam.tree.nodes import Column, Tree


def _rewards(leaves: Sequence[Leaf]) -> list[float]:
    return [leaf.reward for leaf in leaves]


class GRPO(PathMethod):
    """A = (R - mean_task)/std_task. Shao et al. 2024, DeepSeekMath, arXiv 2402.03300.

    `scale` = "batch" divides by the std of all outcomes of the batch (Liu et al. 2025, "Tricks or
    traps", arXiv 2508.08221; TRL's `scale_rewards`), "none" by nothing (`dr_grpo`).
    """

    std: Std = "sample"
    scale: Literal["group", "batch", "none"] = "group"

    def advantages(self, groups: Sequence[Sequence[Leaf]]) -> list[list[float]]:
        """Centred within each group, divided by the group's or the batch's std."""
        if self.scale == "group":
            return [standardised(_rewards(group), self.std) for group in groups]
        differences = [centred(_rewards(group)) for group in groups]
        if self.scale == "none":
            return differences
        spread = deviation([reward for group in groups for reward in _rewards(group)], self.std)
        return [[value / spread if spread else 0.0 for value in group] for group in differences]


class RLOO(PathMethod):
    """A = n/(n-1) (R - mean_task). Ahmadian et al. 2024, arXiv 2402.14740."""

    def advantages(self, groups: Sequence[Sequence[Leaf]]) -> list[list[float]]:
        """Against the mean of the others of the group."""
        return [leave_one_out(_rewards(group)) for group in groups]


class DrGRPO(PathMethod):
    """A = R - mean_task, no std. Liu et al. 2025, arXiv 2503.20783.

    Its constant token denominator is the loss's aggregation, not a matter of credit.
    """

    def advantages(self, groups: Sequence[Sequence[Leaf]]) -> list[list[float]]:
        """Centred within each group."""
        return [centred(_rewards(group)) for group in groups]


class ReinforcePP(PathMethod):
    """A = (b - mean_batch(b))/std_batch(b), b = R or R - mean_task. Hu et al., arXiv 2501.03262.

    The batch is every leaf given in one call, each with weight one (the published code weighs a
    leaf by its number of tokens). `baseline = "group"` is the paper's variant with group baseline.
    """

    std: Std = "sample"
    baseline: Literal["none", "group"] = "none"

    def advantages(self, groups: Sequence[Sequence[Leaf]]) -> list[list[float]]:
        """Whitened over the batch."""
        move = centred if self.baseline == "group" else list
        differences = [value for group in groups for value in move(_rewards(group))]
        whiten = scaled if self.baseline == "group" else standardised  # centred twice is noise
        white = iter(whiten(differences, self.std))
        return [[next(white) for _ in group] for group in groups]


class TreeGRPO(PathMethod):
    """A = (R - mean_trunk)/std_trunk + (R - mean_task)/std_task. Ji et al. 2025, arXiv 2509.21240.

    `mode` keeps the first term (intra), the second (inter) or both, weight 1:1. A trunk with one
    scored leaf has intra advantage 0.
    """

    mode: Literal["intra", "inter", "both"] = "both"
    std: Std = "sample"

    def advantages(self, groups: Sequence[Sequence[Leaf]]) -> list[list[float]]:
        """Against the trunk, the task, or both."""
        return [self._group(group) for group in groups]

    def _group(self, group: Sequence[Leaf]) -> list[float]:
        inter = standardised(_rewards(group), self.std)
        if self.mode == "inter":
            return inter
        intra = [0.0] * len(group)
        trunks: dict[tuple[int, int], list[int]] = {}
        for i, leaf in enumerate(group):
            trunks.setdefault((leaf.tree, leaf.trunk), []).append(i)
        for members in trunks.values():
            for i, value in zip(
                members, standardised([group[i].reward for i in members], self.std)
            ):
                intra[i] = value
        return intra if self.mode == "intra" else [a + b for a, b in zip(intra, inter)]


class TreeRL(NodeMethod):
    """A(n) = [(V(n) - V(root)) + (V(n) - V(parent))] / sqrt(|L(n)|), V = mean of leaves below.

    Hou et al. 2025, TreeRL, arXiv 2506.11902, eq. 2-4. The root is the task: several trees of one
    task share its value, the mean over all their leaves.
    """

    def credits(self, trees: Sequence[Tree], outcomes: Sequence[Column]) -> list[Column]:
        """Global plus local advantage, weighed down where many leaves repeat it."""
        root = mean([value for tree, out in zip(trees, outcomes) for value in _scored(tree, out)])
        out: list[Column] = []
        for tree, outcome in zip(trees, outcomes):
            values, many = leaf_mean(tree, outcome), counts(tree, outcome)
            values[0] = root
            column = _against_parent(tree, values, self)
            for i, local in enumerate(column):
                if local is not None:
                    column[i] = (_minus(values[i], root) + local) / math.sqrt(many[i])
            out.append(column)
        return out


class ValueBackup(NodeMethod):
    """A(n) = V(n) - V(parent), V(n) = mean of V over the children, V(leaf) = R.

    One-step value back-up over the tree; summed down a path it telescopes to R - V(root). The
    turn-wise credit of AT2PO (arXiv 2601.04767) builds on the same values. Several trees of one
    task share its value, the mean over all their trunks.
    """

    def credits(self, trees: Sequence[Tree], outcomes: Sequence[Column]) -> list[Column]:
        """What each step changed in the value."""
        columns = [child_mean(tree, outcome) for tree, outcome in zip(trees, outcomes)]
        root = mean([v[c] for tree, v in zip(trees, columns) for c in tree.children(0)])
        for values in columns:
            values[0] = root
        return [_against_parent(tree, values, self) for tree, values in zip(trees, columns)]


class Shaped(NodeMethod):
    """A(n) = mean_{i in L(n)} A_i + weight (v(n) - v(parent)), A_i the outcome's GRPO advantage.

    v is what a guide says of a step (`column`): a judge or a value model as process reward. With
    `progress` its change over the step counts (potential-based shaping, Ng et al. 1999; process
    advantage, Setlur et al. 2024, arXiv 2410.08146), else v(n) itself. The task's v is the mean of
    the first steps' that have an outcome below; a step of unknown v, or after one, has no share.
    """

    column: str = Field("value", min_length=1)
    weight: float = 1.0
    progress: bool = True
    std: Std = "sample"

    @property
    def reads(self) -> str:
        """The column of the guide that must judge what is grown."""
        return self.column

    def credits(self, trees: Sequence[Tree], outcomes: Sequence[Column]) -> list[Column]:
        """The outcome's share, and what the guide adds at every step."""
        values = [self._values(tree) for tree in trees]
        columns = episode_shares(trees, outcomes, self.std)
        first = [
            value[c]
            for tree, column, value in zip(trees, columns, values)
            for c in tree.children(0)
            if column[c] is not None
        ]
        for tree, column, value in zip(trees, columns, values):
            value[0] = mean(first)
            for i in range(1, len(tree)):
                if column[i] is not None:
                    column[i] = (column[i] or 0.0) + self.weight * self._share(tree, value, i)
        return columns

    def _values(self, tree: Tree) -> Column:
        if self.column not in tree.columns:
            raise DataError(
                f"task {tree.task.get('id')!r}: no column {self.column!r} to shape by: name a guide"
                f" of that name in the recipe, [guides.{self.column}]; on a file of trees `hornbeam"
                f" score` writes one, and in Python tree.columns[{self.column!r}] is it"
            )
        return [*tree.columns[self.column]]

    def _share(self, tree: Tree, value: Column, i: int) -> float:
        here, before = value[i], value[tree.nodes[i].parent]
        if here is None or (self.progress and before is None):
            return 0.0
        return _minus(here, before) if self.progress else here


class MGRPO(ScopeMethod):
    """A_M = (R_M - mean)/std over rollouts; A_S = (R_S - mean)/std over delegations, aligned to d.

    Hong et al. 2025, M-GRPO, arXiv 2511.13288. A rollout is a scored leaf; one with d_k > 0
    delegations that have a reward counts as d of them: `align` = "weight" gives each the weight
    d/d_k in mean, std and mass, "resample" duplicates or drops at random as the paper does (drawn
    by `seed` and the task), "none" lets every delegation count once. `normalise` = "agent": the
    delegations of each agent are aligned and set against one another; "global": all, the main
    agent's rollouts too, are one set.
    """

    align: Literal["weight", "resample", "none"] = "weight"
    d: int = Field(8, ge=1)
    normalise: Literal["agent", "global"] = "agent"
    std: Std = "sample"
    seed: int = 0

    @property
    def outcome_only(self) -> str:
        """Delegations have rewards of their own."""
        return "m_grpo does not count them, its rewards are those of [reward.delegation]"

    def credits(
        self, trees: Sequence[Tree], outcomes: Sequence[Column]
    ) -> list[tuple[Column, Column]]:
        """Standardised within sets; mass is the sum of the weights of a delegation's copies."""
        sets = self._sets(trees, outcomes)
        out: list[tuple[Column, Column]] = [([None] * len(t), [None] * len(t)) for t in trees]
        masses: dict[tuple[int, int], list[float]] = {}
        for copies in sets.values():
            values = weighted([c[2] for c in copies], [c[3] for c in copies], self.std)
            for (t, i, _, weight), value in zip(copies, values):
                out[t][0][i] = value
                masses.setdefault((t, i), []).append(weight)
        for (t, i), weights in masses.items():
            if not trees[t].is_leaf(i):
                out[t][1][i] = math.fsum(weights)
        return out

    def _sets(
        self, trees: Sequence[Tree], outcomes: Sequence[Column]
    ) -> dict[str | None, list[tuple[int, int, float, float]]]:
        """Copies (tree, node, reward, weight) that are set against one another; None is the main's.

        With "global" that is the only set.
        """
        rng = Random(f"m_grpo:{self.seed}:{trees[0].task['id']!r}")
        sets: dict[str | None, list[tuple[int, int, float, float]]] = {}
        for t, (tree, outcome) in enumerate(zip(trees, outcomes)):
            for leaf, ends in rollouts(tree, outcome):
                sets.setdefault(None, []).append((t, leaf, outcome[leaf] or 0.0, 1.0))
                agents: dict[str | None, list[int]] = {}
                for end in ends:
                    name = tree.nodes[end].agent if self.normalise == "agent" else None
                    agents.setdefault(name, []).append(end)
                for name, own in agents.items():
                    d = len(own) if self.align == "none" else self.d
                    copies = aligned(len(own), d, rng if self.align == "resample" else None)
                    for end, weights in zip(own, copies):
                        reward = tree.columns["reward"][end] or 0.0
                        sets.setdefault(name, []).extend((t, end, reward, w) for w in weights)
        return sets


def _scored(tree: Tree, outcome: Column) -> list[float | None]:
    return [outcome[leaf] for leaf in tree.leaves()]


def _minus(a: float | None, b: float | None) -> float:
    """Difference of two known values; rounding noise between equal ones is 0."""
    assert a is not None and b is not None, "a node with a value has a parent with one"
    return difference(a, b)


def _against_parent(tree: Tree, values: Column, how: NodeMethod) -> Column:
    """V(n) - V(parent of n), both as rewards to go from n on; `None` where nothing is known."""
    column: Column = [None] * len(tree)
    before, scale = to_go(tree, how)
    for i in range(1, len(tree)):
        here, above = values[i], values[tree.nodes[i].parent]
        if here is not None:
            assert above is not None, "a node with a value has a parent with one"
            column[i] = _minus((here - before[i]) / scale[i], (above - before[i]) / scale[i])
    return column


methods: dict[str, type[PathMethod] | type[NodeMethod] | type[ScopeMethod]] = {
    "grpo": GRPO,
    "rloo": RLOO,
    "dr_grpo": DrGRPO,
    "reinforce_pp": ReinforcePP,
    "tree_grpo": TreeGRPO,
    "tree_rl": TreeRL,
    "value_backup": ValueBackup,
    "shaped": Shaped,
    "gigpo": GiGPO,
    "hgpo": HGPO,
    "rtmc": RTMC,
    "state_gae": StateGAE,
    "m_grpo": MGRPO,
    "pvpo": PVPO,
    "anchor": Anchor,
    "gdpo": GDPO,
    "pass_k": PassK,
}
