"""Credit against what is known of a task beforehand: anchors (PVPO), the family between them and
RLOO, and the decayed tracker that may take an anchor's place.

Column "prior" holds V_prior of the task at node 0; nothing else of it is read. Equal outcomes are
no reason for 0 here: a group that is all right where the prior expected less teaches, which is what
an anchor is for. Where outcome and prior are equal too, A is exactly 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import field_validator

from hornbeam.credit.baselines import centred, difference, equal
from hornbeam.credit.shrinkage import shrunk
from hornbeam.errors import DataError
from hornbeam.protocols import Leaf, PathMethod
from hornbeam.tree.nodes import Tree


def prior(trees: Sequence[Tree]) -> float:
    """V_prior of a task: column "prior" at node 0 of all its trees.

    Raises `DataError` naming the task where one has none, or where they differ.
    """
    name = trees[0].task.get("id")
    found = [tree.columns.get("prior", [None])[0] for tree in trees]
    values = [value for value in found if value is not None and math.isfinite(value)]
    if len(values) < len(found):
        held = next(v for v in found if v is None or not math.isfinite(v))
        what = "no column 'prior' with a value" if held is None else f"a prior of {held!r}"
        raise DataError(
            f"task {name!r}: {what} at node 0: put a finite number there (a run does, by"
            " `hornbeam anchor`), or take a credit without a prior, as rloo"
        )
    if not equal(values):
        raise DataError(
            f"task {name!r}: its trees have priors from {min(values):g} to {max(values):g} at node"
            " 0: trees of one task are one group and share one prior"
        )
    return values[0]


BEHIND = "its prior is of outcomes alone"  # no anchor knows of rewards of steps


class PVPO(PathMethod):
    """A_i = R_i - V_prior, no std. PVPO, arXiv 2508.21104: V_prior is V_sta, an anchor."""

    @property
    def anchored(self) -> bool:
        """Always."""
        return True

    @property
    def outcome_only(self) -> str:
        """What it compares with holds no rewards of steps."""
        return f"pvpo does not count them, {BEHIND}"

    def check(self, trees: Sequence[Tree]) -> None:
        """Raise `DataError` where the task has no one prior."""
        prior(trees)

    def advantages(self, groups: Sequence[Sequence[Leaf]]) -> list[list[float]]:
        """Against the prior alone, leaf by leaf."""
        return [[_above(leaf) for leaf in group] for group in groups]


class Anchor(PathMethod):
    """A_i = R_i - V_i, V_i = (n0 V_prior + sum_{j != i} R_j) / (n0 + N - 1), N leaves of the task.

    The prior counts as `n0` outcomes beside those of the other leaves (shrinkage of the baseline,
    ours): n0 = 0 is RLOO and reads no prior, n0 -> infinity is PVPO. N = 1 and n0 = 0 give 0.
    "auto" has the prior and its weight from the other tasks of the batch (shrinkage): no column.
    """

    n0: float | Literal["auto"] = 4.0

    @field_validator("n0", mode="plain")
    @classmethod
    def _weight(cls, n0: Any) -> float | Literal["auto"]:
        number = isinstance(n0, (int, float)) and not isinstance(n0, bool)
        if not (n0 == "auto" or (number and 0 <= n0 < math.inf)):
            raise ValueError('a number from 0 is expected, or "auto"')
        return "auto" if n0 == "auto" else float(n0)

    @property
    def anchored(self) -> bool:
        """Where the prior has a weight, and is the task's own."""
        return self.n0 != "auto" and self.n0 > 0

    @property
    def outcome_only(self) -> str:
        """What it compares with holds no rewards of steps."""
        return f"anchor does not count them, {BEHIND}" if self.anchored else ""

    def check(self, trees: Sequence[Tree]) -> None:
        """Raise `DataError` where the task has no one prior and it has a weight."""
        if self.anchored:
            prior(trees)

    def advantages(self, groups: Sequence[Sequence[Leaf]]) -> list[list[float]]:
        """Against the prior and the other leaves of the task."""
        if self.n0 == "auto":
            return shrunk([[leaf.reward for leaf in group] for group in groups])
        return [self._group(group, self.n0) for group in groups]

    def _group(self, group: Sequence[Leaf], n0: float) -> list[float]:
        """As A_i = [n0 (R_i - V_prior) + N (R_i - mean)] / (n0 + N - 1), the same number."""
        n, over = len(group), n0 + len(group) - 1
        if not over:
            return [0.0] * n
        share = n0 / over
        differences = centred([leaf.reward for leaf in group])
        above = [_above(leaf) if share else 0.0 for leaf in group]
        return [share * a + n * c / over for a, c in zip(above, differences)]


def _above(leaf: Leaf) -> float:
    """R - V_prior, 0 where they are equal up to rounding."""
    assert leaf.prior is not None, "checked before"
    return difference(leaf.reward, leaf.prior)


@dataclass(frozen=True, slots=True)
class Tracked:
    """A running value of a task, and how often outcomes were heard."""

    value: float
    count: int = 0


def track(before: Tracked, rewards: Sequence[float], decay: float) -> Tracked:
    """The value after some outcomes: v' = v + (1 - decay) (mean(R) - v).

    After SPO (arXiv 2509.13232), with a decay that is set: it follows a policy that changes.
    """
    if not rewards:
        return before
    mean = math.fsum(rewards) / len(rewards)
    return Tracked(before.value + (1 - decay) * (mean - before.value), before.count + 1)
