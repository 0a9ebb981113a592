"""Curricula: a run in stages, each with the training tasks that its measured accuracy lets in.

As a stage begins, the present policy runs every training task some times; what these runs cost is
paid by the run. Which tasks are left is kept in the store, so that a resumed run has the same.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from hornbeam.errors import DataError
from hornbeam.run.choices import StageChoice
from hornbeam.run.records import Record, rewards_of
from hornbeam.store import Store, TreeKey
from hornbeam.tasks.base import Task
from hornbeam.tree import Tree

STAGE = "measure"  # of the trees by which tasks are measured

Runs = Callable[[list[TreeKey], list[Task], int], Awaitable[list[Tree]]]  # keys, tasks, how many
Told = Callable[[dict[str, Any]], None]


class Curriculum:
    """The stages of a run over its training tasks. `told` hears a row of metrics for each stage."""

    def __init__(
        self, stages: Sequence[StageChoice], tasks: Sequence[Task], store: Store, told: Told
    ) -> None:
        self.stages, self.all, self.store, self._told = stages, tasks, store, told
        self._held: tuple[int, list[Task]] = (-1, [])

    async def tasks(self, step: int, runs: Runs) -> tuple[int, list[Task]]:
        """(the step with which the stage began, its tasks). `DataError` where none is left."""
        number = max(n for n, stage in enumerate(self.stages) if stage.begin <= step)
        stage = self.stages[number]
        if self._held[0] != number:
            places = self.store.get(f"stages/{number}")
            if places is None:
                places = await self._measured(number, stage, runs)
                self.store.set(f"stages/{number}", places)
            self._held = (number, [self.all[place] for place in places])
        return stage.begin, self._held[1]

    async def _measured(self, number: int, stage: StageChoice, runs: Runs) -> list[int]:
        """Places of the tasks that the stage lets in."""
        places = list(range(len(self.all)))
        if not stage.rollouts:
            return places
        keys = [TreeKey(STAGE, stage.begin, place) for place in places]
        grown = await runs(keys, list(self.all), stage.rollouts)
        shares = [Record(0, rewards_of(tree)).accuracy(stage.solved) for tree in grown]
        kept = [place for place in places if stage.least <= shares[place] <= stage.most]
        mean = sum(shares) / len(shares)
        row = {"kind": "stage", "step": stage.begin, "tasks": len(kept), "of": len(places)}
        if not kept:
            raise DataError(
                f"stages, from step {stage.begin}: no training task has an accuracy of"
                f" {stage.least} to {stage.most}; the mean is {mean:.2f} in {stage.rollouts} runs"
            )
        self.store.set(f"stages/{number}", kept)
        self._told({**row, "accuracy": mean})
        return kept
