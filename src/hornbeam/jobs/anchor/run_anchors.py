"""Anchors: what a reference policy makes of every training task, before any training (PVPO).

Each task gets M runs of the policy; their rewards say whether it is solved, mixed or unsolved, and
what they cost is kept with them. All of it lies in one store that runs share. A *mark* tells what
an anchor is of: the weights, the program with its tools and limits, how agents sample, what is
rewarded. A teacher is nothing else than another reference, whose runs end with the first success.

In the store: runs under stage "anchor MARK", a record a task under the name "MARK/TASK", and under
"MARK/MARK OF THE TEACHER/TASK" where the run of a teacher lies that a policy can learn from.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hornbeam.assembly.loading import model_folder
from hornbeam.assembly.plan import Plan
from hornbeam.assembly.progress import Progress
from hornbeam.assembly.task_records import mark_of, mark_of_task
from hornbeam.assembly.teacher import endpoint, teacher_engine
from hornbeam.assembly.tree_growth import StoreGrower
from hornbeam.assembly.world import World
from hornbeam.jobs.anchor.anchor_marks import (
    check_own,
    mark_of_reference,
    reference,
    settings,
    teacher_mark,
)
from hornbeam.jobs.anchor.injected_runs import TeacherTree
from hornbeam.jobs.anchor.reference_runs import Reference, independent_runs
from hornbeam.jobs.anchor.teacher_runs import TeacherRuns
from hornbeam.recipe.recipe import Recipe
from hornbeam.store.database import Store
from hornbeam.store.ledger import TOKENS
from hornbeam.tree.task import Task


class Anchors:
    """The anchors of a recipe's training tasks, and where none solved one its teacher's runs."""

    def __init__(self, recipe: Recipe, plan: Plan, progress: Progress) -> None:
        self.how, self.plan, self.progress = settings(recipe), plan, progress
        self.recipe = reference(recipe)
        endpoint(self.how)  # refused before anything is opened
        check_own(recipe, self.how)
        self.tasks = list({mark_of_task(task): task for task in plan.train.tasks}.values())
        self.store = Store(self.how.store)
        try:
            with tempfile.TemporaryDirectory() as made:  # a tiny model, made from nothing
                folder = model_folder(self.recipe, Path(made) / "model", progress.say)
                self.mark = mark_of_reference(recipe, plan, folder)
                self.teacher = teacher_mark(recipe, plan, folder)
                self.world = World.load(self.recipe, plan, Path(made) / "model", progress.say)
            (member,) = self.world.policies
            self.policy, self.chat = member.policy, member.engine.chat
            self.store_grower = StoreGrower(self.recipe, self.store, self.world, progress)
        except BaseException:
            self.store.close()
            raise

    async def go(self) -> dict[str, Any]:
        """Run what was not run yet; how many tasks are of which kind, and what all of it cost.

        Raises `ProgramError` where no run has a reward.
        """
        try:
            stages = tuple(dict.fromkeys((f"anchor {self.mark}", *self._stages())))
            runs = partial(independent_runs, self.world, self.store)
            own = Reference(self.store_grower, self.mark, self.how.solved, runs)
            began = self._began(own, stages)
            await own.run("anchors", self.tasks, self.how.rollouts)
            kinds = own.kinds(self.tasks)
            taught = await self._taught(kinds["unsolved"]) if self.teacher else []
            paid = sum(self._tokens(stage) for stage in stages) - began["tokens"]
            redone = self.store_grower.redone(*stages)
            self.store.set(f"{self.mark}/began", None)
        finally:
            await self.store_grower.aclose()
        records = [own.record(task) for task in self.tasks]
        return {
            "tasks": len(self.tasks),
            "fresh": began["fresh"],
            **{kind: len(found) for kind, found in kinds.items()},
            "mean": math.fsum(record.mean for record in records) / len(records),
            "taught": sum(run.tree is not None for run in taught),
            "scored_by": sorted({run.scored_by for run in taught if run.tree is not None}),
            "tokens": paid,
            **redone,
            "anchor_tokens": sum(r.tokens for r in records) + sum(run.tokens for run in taught),
            "mark": self.mark,
            "store": self.how.store,
        }

    def _began(self, own: Reference, stages: Sequence[str]) -> dict[str, Any]:
        """What stood there when this command began; one that was stopped began before the stop."""
        now = mark_of([[mark_of_task(task) for task in self.tasks], self.how.model_dump()])
        name = f"{self.mark}/began"
        found: dict[str, Any] | None = self.store.get(name)
        with self.store.reading(f"value of {name!r}"):
            if found is not None and found["command"] == now:
                return {**found, "tokens": float(found["tokens"]), "fresh": int(found["fresh"])}
        left = [t for t in self.tasks if len(own.record(t).rewards) < self.how.rollouts]
        tokens = sum(self._tokens(stage) for stage in stages)
        found = {"command": now, "tokens": tokens, "fresh": len(left)}
        self.store.set(name, found)
        return found

    def _stages(self) -> tuple[str, ...]:
        """The stages of the store in which the teacher's runs and their retelling are."""
        if not self.teacher:
            return ()
        return f"anchor {self.teacher}", f"taught {self.mark} {self.teacher}"

    def _tokens(self, stage: str) -> float:
        costs = self.store.totals(stage)
        return sum(costs.get(kind, 0) for kind in TOKENS)

    async def _taught(self, tasks: Sequence[Task]) -> list[TeacherTree]:
        """What can be learned from the teacher's runs of these tasks."""
        engine = teacher_engine(self.how, self.chat, self.recipe.run.device, self.progress.say)
        try:
            teacher = TeacherRuns(self.store_grower, self.how, engine)
            return await teacher.teach(self.policy.causal, self.mark, self.teacher, tasks)
        finally:
            await engine.aclose()
