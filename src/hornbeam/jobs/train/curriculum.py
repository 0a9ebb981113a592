"""Curricula: a run in stages, each with the training tasks that its measured accuracy lets in.

As a stage begins, the present policy runs every training task some times; what these runs cost is
paid by the run. Which tasks are left is kept in the store, so that a resumed run has the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hornbeam.assembly.task_order import task_at
from hornbeam.assembly.task_records import Record, rewards_of
from hornbeam.errors import DataError
from hornbeam.jobs.train.parts import Runs
from hornbeam.recipe.recipe import RunSettings
from hornbeam.recipe.sections import StageSection
from hornbeam.store.database import Store, TreeKey
from hornbeam.tree.nodes import Tree
from hornbeam.tree.task import Task

STAGE = "measure"  # of the trees by which tasks are measured


class ShuffledTasks:
    """Tasks in epochs, each shuffled anew; `begin` is the step with which the first one begins."""

    def __init__(self, run: RunSettings, tasks: Sequence[Task], begin: int = 0) -> None:
        self._run, self._tasks, self._begin = run, tasks, begin

    async def tasks(self, step: int, runs: Runs) -> list[Task]:
        """The tasks of a step, by the run's seed."""
        first, seed = (step - self._begin) * self._run.tasks, self._run.seed
        return [task_at(self._tasks, seed, first + at) for at in range(self._run.tasks)]

    def learned(self, step: int, trees: Sequence[Tree]) -> None:
        """Outcomes change nothing here."""


class Curriculum:
    """The stages of a run over its training tasks. `add` keeps a row of metrics for each stage."""

    def __init__(
        self,
        run: RunSettings,
        stages: Sequence[StageSection],
        tasks: Sequence[Task],
        store: Store,
        add: Callable[[dict[str, Any]], None],
    ) -> None:
        self.stages, self.all, self.store = stages, tasks, store
        self._run, self._add = run, add
        self._present: tuple[int, ShuffledTasks] = (-1, ShuffledTasks(run, tasks))

    async def tasks(self, step: int, runs: Runs) -> list[Task]:
        """The tasks of a step, of those that its stage lets in. `DataError` where none is left."""
        number = max(n for n, stage in enumerate(self.stages) if stage.begin <= step)
        stage = self.stages[number]
        if self._present[0] != number:
            places = self.store.get(f"stages/{number}")
            if places is None:
                places = await self._measured(number, stage, runs)
                self.store.set(f"stages/{number}", places)
            with self.store.reading(f"value of 'stages/{number}'"):
                tasks = [self.all[place] for place in places]
            self._present = number, ShuffledTasks(self._run, tasks, stage.begin)
        return await self._present[1].tasks(step, runs)

    def learned(self, step: int, trees: Sequence[Tree]) -> None:
        """Stages begin at their steps, whatever came before."""

    async def _measured(self, number: int, stage: StageSection, runs: Runs) -> list[int]:
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
        self._add({**row, "accuracy": mean})
        return kept
