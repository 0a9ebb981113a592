"""Credit for several rewards, each set against the group before they are added up."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from pydantic import Field, field_validator

from hornbeam.credit.baselines import Std, scaled, standardised
from hornbeam.protocols import Leaf, PathMethod


class GDPO(PathMethod):
    """A = B / std_batch(B), B = sum_k w_k (r_k - mean_group(r_k)) / std_group(r_k).

    GDPO, arXiv 2601.05242. r_k is column k at the leaf, `weights` says which columns and w_k; a
    reward that hardly varies is not drowned by one that does. A leaf without an entry of a column
    is in no mean of it, and gets nothing of it. B sums to 0 over every group, so the batch's mean
    is not taken off again. One column and one group are `grpo`. verl's code whitens over tokens,
    TRL's (`multi_objective_aggregation = "normalize_then_sum"`) over leaves; both add an epsilon.
    """

    weights: Mapping[str, float] = Field({"reward": 1.0}, min_length=1)
    std: Std = "sample"

    @field_validator("weights")
    @classmethod
    def _finite(cls, weights: Mapping[str, float]) -> Mapping[str, float]:
        if not all(map(math.isfinite, weights.values())) or not any(weights.values()):
            raise ValueError("a finite weight for each column is expected, one at least not 0")
        return dict(weights)

    @property
    def parts(self) -> tuple[str, ...]:
        """The columns of its rewards; of those of steps the sums over the path."""
        return tuple(self.weights)

    @property
    def outcome_only(self) -> str:
        """Rewards of steps are a reward of their own here, named among the weights."""
        why = "gdpo counts them apart: name 'step_reward' among credit.weights"
        return "" if any(name.startswith("step_reward") for name in self.weights) else why

    def advantages(self, groups: Sequence[Sequence[Leaf]]) -> list[list[float]]:
        """Column by column within groups, added up, then scaled over the batch."""
        sums = [value for group in groups for value in self._group(group)]
        white = iter(scaled(sums, self.std))
        return [[next(white) for _ in group] for group in groups]

    def _group(self, group: Sequence[Leaf]) -> list[float]:
        terms: list[list[float]] = [[] for _ in group]
        for k, weight in enumerate(self.weights.values()):
            there = [i for i, leaf in enumerate(group) if leaf.parts[k] is not None]
            values = [value for leaf in group if (value := leaf.parts[k]) is not None]
            for i, value in zip(there, standardised(values, self.std)):
                terms[i].append(weight * value)
        return [math.fsum(term) for term in terms]
