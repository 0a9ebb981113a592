"""Is a chunk good? Labels 1 and -1 from success rates (StepWiser, arXiv 2508.19229; METHODS 5).

Q of a chunk is the share of runs that succeed after it, in [0, 1]; `before` is that of what it goes
on from (Q_0, the task's own pass rate, for the first chunk). Every label rises with Q and does not
rise with `before`. With one rollout a chunk (Q is 0 or 1) all three say whether it succeeded.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field, PrivateAttr

from hornbeam.arguments import described
from hornbeam.errors import DataError
from hornbeam.own.own_classes import subclass
from hornbeam.own.own_functions import OwnFunction, own_function
from hornbeam.own.own_parts import Base, find_part
from hornbeam.settings import Settings, build
from hornbeam.tree.nodes import Column, Tree


def abs_q(q: float, over: float = 0.0) -> int:
    """1 iff Q > `over`: some run succeeds after the chunk; else -1."""
    return 1 if q > over else -1


def rel_effective(q: float, before: float, alpha: float = 0.8, power: int = 4) -> int:
    """1 iff Q + alpha (Qn - Qn_before) > 0, with Qn = 1 - (1 - Q)^power; else -1.

    Qn is the chance that one of `power` runs succeeds. Nothing is divided: at Q_before = 0 it is
    1 iff Q > 0, at Q = 1 always, at Q = 0 never. The paper has alpha 0.4 at 1.5B, 0.8 at 7B.
    """
    gain = (1 - before) ** power - (1 - q) ** power
    return 1 if q + alpha * gain > 0 else -1


def rel_ratio(q: float, before: float, gamma: float = 0.7) -> int:
    """1 iff Q / Q_before > gamma; at Q_before = 0 iff Q > 0; else -1.

    At Q = Q_before = 1 it is 1 for gamma < 1. The paper has gamma 0.8 at 1.5B, 0.7 at 7B.
    """
    good = q / before > gamma if before else q > 0
    return 1 if good else -1


class ChunkLabel(Settings):
    """A rule for labels, with its thresholds."""

    relative: ClassVar[bool] = True  # it looks at what the chunk goes on from

    @abstractmethod
    def label(self, q: float, before: float) -> int:
        """1 or -1."""


class AbsQ(ChunkLabel):
    """See `abs_q`."""

    relative: ClassVar[bool] = False
    over: float = Field(0.0, ge=0, lt=1)

    def label(self, q: float, before: float) -> int:
        """1 or -1; `before` does not matter."""
        return abs_q(q, self.over)


class RelEffective(ChunkLabel):
    """See `rel_effective`."""

    alpha: float = Field(0.8, ge=0, allow_inf_nan=False)
    power: int = Field(4, ge=1)

    def label(self, q: float, before: float) -> int:
        """1 or -1."""
        return rel_effective(q, before, self.alpha, self.power)


class RelRatio(ChunkLabel):
    """See `rel_ratio`."""

    gamma: float = Field(0.7, ge=0, allow_inf_nan=False)

    def label(self, q: float, before: float) -> int:
        """1 or -1."""
        return rel_ratio(q, before, self.gamma)


methods: dict[str, type[ChunkLabel]] = {
    "abs_q": AbsQ,
    "rel_effective": RelEffective,
    "rel_ratio": RelRatio,
}


class OwnLabel(ChunkLabel):
    """A function of one's own: of Q of a chunk and of what it goes on from, True for a good one."""

    _function: OwnFunction = PrivateAttr()

    def label(self, q: float, before: float) -> int:
        """1 or -1. Raises `DataError` where the function gives none of True, False, 1 and -1."""
        found = self._function(q, before)
        if found not in (True, False, 1, -1):
            where = self._function.part.where
            raise DataError(f"{where} gave {described(found)}: True or False is expected")
        return 1 if found == 1 else -1


def chunk_label(name: str, base: Base = "", /, **settings: Any) -> ChunkLabel:
    """The rule of that name with these thresholds; `RecipeError` if there is none such.

    One's own is "file.py:name", its file in `base` (a recipe's folder) or here: a class that
    derives from `ChunkLabel`, or a function (`OwnLabel`).
    """
    if name in methods:
        return build("chunk label", methods, name, settings)
    part = find_part("chunk label", name, methods, base)
    if isinstance(part.thing, type):
        own: type[ChunkLabel] = subclass(part, (ChunkLabel,))
        return build("chunk label", {name: own}, name, settings)
    made = OwnLabel()
    made._function = own_function(part, settings, ["q", "before"])
    return made


def apply(tree: Tree, name: str, settings: Mapping[str, Any], base: Base = "") -> Column:
    """Write column "label" (1, -1) from column "q", Q in [0, 1] of each node and Q_0 at node 0.

    `before` is Q of the parent. `None` where Q is, at node 0, and for a relative label where Q of
    the parent is unknown. Raises `DataError` without column "q" and for a Q that is no share.
    """
    rule = chunk_label(name, base, **settings)
    if "q" not in tree.columns:
        raise DataError(
            'no column "q" to read labels from: write it by hornbeam label RECIPE --method rollouts'
        )
    q = tree.columns["q"]
    for i, value in enumerate(q):
        if value is not None and not 0 <= value <= 1:
            raise DataError(
                f'node {i} has {value:g} in column "q": a share in [0, 1] is expected. Those of'
                " MCTS lie in [-1, 1]: label by rollouts (hornbeam label RECIPE --method rollouts)"
            )
    labels: Column = [None]
    for i in range(1, len(tree)):
        own, before = q[i], q[tree.nodes[i].parent]
        known = own is not None and (before is not None or not rule.relative)
        labels.append(rule.label(own or 0.0, before or 0.0) if known else None)
    tree.columns["label"] = labels
    return labels
