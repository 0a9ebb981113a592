"""Evaluation while a run trains: greedy answers to the held-out tasks, once a stage and step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hornbeam.assembly.failed_episodes import failed_of, why
from hornbeam.assembly.step_costs import earlier_turns, redone
from hornbeam.jobs.train.parts import TreeGrowth
from hornbeam.jobs.train.run_context import RunContext
from hornbeam.jobs.train.tree_metrics import measure
from hornbeam.stats import between, named
from hornbeam.store.database import TreeKey
from hornbeam.tree.nodes import Tree
from hornbeam.tree.task import Task

WHEN = {"start": "before training", "warm start": "after the warm start"}


@dataclass(frozen=True, slots=True)
class Evaluator:
    """Evaluates the run's policies on its held-out tasks, and keeps a row of metrics each time."""

    context: RunContext
    growth: TreeGrowth

    async def evaluate_when_due(self, step: int) -> None:
        """Evaluate after so many steps where that is due; the end of training has its own."""
        run = self.context.recipe.run
        if run.eval_every and step % run.eval_every == 0 and 0 < step < run.steps:
            await self.evaluate("train", step)

    async def evaluate_warm_start(self) -> None:
        """Evaluate what a warm start made; without steps the last evaluation says it."""
        recipe = self.context.recipe
        if recipe.sft is not None and recipe.run.steps:
            await self.evaluate("warm start", 0)

    async def evaluate(self, stage: str, step: int) -> None:
        """Evaluate at a stage (start, warm start, train, final), unless that was done; say it."""
        context, tasks = self.context, self.context.plan.eval.tasks
        if not tasks or context.metrics.has("eval", stage, step):
            return
        trees = stage if stage in WHEN else "eval"
        await context.policies.load()
        grown = await self._grow(stage, [TreeKey(trees, step, n) for n in range(len(tasks))], tasks)
        await context.policies.load()
        row = {"kind": "eval", "stage": stage, "step": step}
        row |= measure(grown, context.recipe.reward.delegation) | why(grown)
        store, stages = context.folder.store, (trees,)
        row |= earlier_turns(store, stages, step) | redone(store, stages, step)
        context.metrics.add({**row, "seconds": context.ledger.wall_seconds()})
        self._say(row, WHEN.get(stage, f"after {step} steps"))
        context.folder.report(context.policies.chats)

    async def _grow(self, stage: str, keys: Sequence[TreeKey], tasks: Sequence[Task]) -> list[Tree]:
        """The trees of an evaluation, with a bar; among steps the bar of training tells it."""
        grower, progress = self.context.greedy, self.context.progress
        if stage == "train":
            ended = progress.nested("evaluation", len(tasks))
            return await self.growth.grow(replace(grower, ended=ended), keys, tasks)
        ended = progress.count("evaluation", len(tasks))
        grown = await self.growth.grow(replace(grower, ended=ended), keys, tasks)
        progress.end()
        return grown

    def _say(self, row: Mapping[str, Any], when: str) -> None:
        name, value = named(row)
        line = f"Held-out {name} {when}: {value}{between(row)} of {row['count']}{failed_of(row)}"
        self.context.progress.say(line, "bold")
