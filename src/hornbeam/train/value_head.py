"""A value model that is fitted again while training goes on, on the trees just grown.

Before the first fit its head says z = 0 of every step: a chance of one half. Its body then begins
as the policy is, so that it reads what the policy has learned so far. The target of a step is the
mean reward of the scored leaves below it, taken into [0, 1], as 2 V - 1; it weighs by their number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hornbeam.train import value_files
from hornbeam.train.train_settings import FitSettings, HeadSettings
from hornbeam.train.value import ValueModel
from hornbeam.train.value_rows import VISITS, has_value
from hornbeam.tree.nodes import Column, Tree

LABEL = "q"


def labelled(tree: Tree) -> Tree | None:
    """The tree with columns "q" and "visits" alone; None where no step has a scored leaf below."""
    reward = tree.columns.get("reward", [])
    sums, counts = [0.0] * len(tree), [0] * len(tree)
    for leaf in tree.leaves():
        value = reward[leaf] if reward else None
        if value is None:
            continue
        for i in tree.path(leaf):
            sums[i] += min(max(value, 0.0), 1.0)
            counts[i] += 1
    known = [n if has_value(node) else 0 for node, n in zip(tree.nodes, counts)]
    if not any(known):
        return None
    q: Column = [2 * total / n - 1 if n else None for total, n in zip(sums, known)]
    columns: dict[str, Column] = {LABEL: q, VISITS: [float(n) for n in known]}
    return Tree(tree.task, tree.nodes, columns, tree.seed)


def shapes(weights: Mapping[str, Any]) -> dict[str, Any]:
    """The shape of every weight by its name."""
    return {name: weight.shape for name, weight in weights.items()}


class ValueHead:
    """A value model and how it is fitted again."""

    def __init__(self, model: ValueModel, settings: HeadSettings) -> None:
        self.model, self.settings = model, settings

    def fit(self, trees: Sequence[Tree], body: Any = None) -> dict[str, float]:
        """Fit on grown and scored trees; what that cost and came to, nothing without any label.

        The first fit begins from the weights of the policy's `body`, where that is of one shape.
        """
        given = [tree for tree in map(labelled, trees) if tree is not None]
        if not given:
            return {}
        if not self.model.card.objective and body is not None:
            weights, mine = body.state_dict(), self.model.body.state_dict()
            if shapes(weights) == shapes(mine):
                self.model.body.load_state_dict(weights)
        own = self.settings
        how = FitSettings(
            loss="mse", by_visits=True, epochs=own.epochs, batch_size=own.batch_size, lr=own.lr
        )
        done = list(self.model.fit(given, LABEL, how))
        return {
            "fit_tokens": sum(update["tokens_unique"] for update in done),
            "fit_loss": sum(update["loss"] for update in done) / len(done),
        }

    def save_state(self, folder: Path) -> None:
        """Write it as a value model, for a run to go on from and for searches to read."""
        self.model.save(folder)

    def load_state(self, folder: Path) -> None:
        """Go on from what `save_state` wrote."""
        model, _, card = value_files.load(folder)
        self.model.model.load_state_dict(model.state_dict())
        self.model.card = card
