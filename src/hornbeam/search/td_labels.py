"""Labels of steps by temporal differences of a fitted value, beside those by Monte Carlo (labels).

The value of a step is what a value model says of it (column "value" of `hornbeam score prm`); where
it says nothing, what came after it stands in its place.
"""

from __future__ import annotations

import math

from pydantic import Field

from hornbeam.credit.returns import counts
from hornbeam.errors import DataError
from hornbeam.search.values import worth
from hornbeam.settings import Settings
from hornbeam.tree.nodes import Column, Tree, fold_up


class TdLabels(Settings):
    """q_t = v_t + sum_l (gamma lam)^l d_(t+l), d_t = r_t + gamma v_(t+1) - v_t.

    AgentPRM, arXiv 2511.08325: TD with generalised advantage estimation over v, the value after
    step t by `column`, in [-1, 1]. r is 2R - 1 at the last step, whose q it is, and 0 before. A
    node has the mean over the scored leaves below it. lam = 1 and gamma = 1 is Monte Carlo.
    """

    column: str = Field("value", min_length=1)
    gamma: float = Field(1.0, ge=0, le=1)
    lam: float = Field(0.95, ge=0, le=1)

    def columns(self, tree: Tree, reward: str = "reward") -> dict[str, Column]:
        """Columns "visits" and "q", as of `labels.label`. Raises `DataError` without values."""
        v = tree.columns.get(self.column)
        where = f"task {tree.task.get('id')!r}"
        if v is None:
            raise DataError(
                f"{where}: no column {self.column!r} of values: `hornbeam score` writes one"
            )
        for i, value in enumerate(v):
            if value is not None and not -1 <= value <= 1:
                raise DataError(f"{where}, node {i}: {self.column} {value!r} is not in [-1, 1]")
        outcome: Column = [None] * len(tree)
        for i in tree.leaves():
            r = worth(tree, i, reward)
            outcome[i] = None if r is None else 2 * min(max(r, 0.0), 1.0) - 1
        many = counts(tree, outcome)

        def before(i: int, below: list[float | None]) -> float | None:
            parts = []
            for c, later in zip(tree.children(i), below):
                if later is not None:
                    value = v[c]
                    ahead = later if value is None else (1 - self.lam) * value + self.lam * later
                    parts.append(many[c] * ahead)
            return self.gamma * math.fsum(parts) / many[i] if parts else None

        q = fold_up(tree, lambda leaf: outcome[leaf], before)
        return {"visits": [float(n) for n in many], "q": q}
