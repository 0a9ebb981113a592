"""What is kept of a training step: its credit, its costs, its row of metrics, a line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hornbeam.assembly.progress import train_line
from hornbeam.assembly.step_costs import PAID, paid, redone, trainer_costs
from hornbeam.jobs.train.parts import RolloutSource, TaskSource
from hornbeam.jobs.train.run_context import RunContext
from hornbeam.jobs.train.tree_metrics import grown_figures, unmixed_warning
from hornbeam.store.database import TreeKey
from hornbeam.store.ledger import lost
from hornbeam.tree.nodes import Tree


@dataclass(frozen=True, slots=True)
class StepRecorder:
    """Keeps the steps of a run in its store, and tells of them."""

    context: RunContext
    source: TaskSource
    rollouts: RolloutSource

    def begin(self, step: int) -> None:
        """The trees of a step are due from now on."""
        self.context.pool.begin(step)

    def record(
        self,
        step: int,
        trees: Sequence[Tree],
        update: Mapping[str, Any],
        grown: float,
        trained: float,
    ) -> None:
        """Keep a trained step with the figures of its update, and the seconds of both halves."""
        store, costs = self.context.folder.store, paid(self.context.folder.store, PAID, step)
        with store.all_or_none():  # one transaction: else a stop has a step's costs without its row
            self.context.ledger.enter(trainer_costs(step, update))
            for number, tree in enumerate(trees):
                store.columns(TreeKey("train", step, number), tree.columns)
            self.source.learned(step, trees)
            idle = self.rollouts.idle(grown, trained)
            row = {"kind": "train", "step": step, **self._figures(step, trees), **update, **costs}
            names = ("seconds_grow", "seconds_train", "seconds_engine_idle", "seconds_trainer_idle")
            row |= {name: round(value, 3) for name, value in zip(names, (grown, trained, *idle))}
            row |= self.context.pool.figures()
            self.context.metrics.add(row)
        self.context.progress.step(step + 1, *train_line(row, self.context.recipe.run.steps))

    def _figures(self, step: int, trees: Sequence[Tree]) -> dict[str, Any]:
        """Seconds of the run so far and figures of the trees; a warning where none teaches."""
        figures = grown_figures(
            trees, self.context.recipe.reward.delegation, self.context.plan.credit
        )
        if not figures["mixed_groups"] and not self.context.plan.credit.anchored:
            self.context.progress.warn(f"step {step + 1}: {unmixed_warning(figures)}")
        return {"seconds": self.context.ledger.wall_seconds(), **figures}

    def trees(self, step: int) -> list[Tree]:
        """The trees that a step was trained on, from the store."""
        return [
            self.context.folder.store.read(key).tree
            for key in self.context.folder.store.keys("train", step)
        ]

    def record_again(self, step: int, update: Mapping[str, Any]) -> None:
        """Keep apart what it cost that a step was trained a second time."""
        tokens = redone(self.context.folder.store, PAID, step).get("redone_tokens", 0)
        tokens += update["tokens_unique"] + update.get("teacher_tokens", 0)
        self.context.ledger.enter([lost(entry) for entry in trainer_costs(step, update)])
        self.context.metrics.amend(step, {"redone_tokens": tokens})
        self.context.folder.store.flush()  # before the checkpoint that ends the need to do it again
