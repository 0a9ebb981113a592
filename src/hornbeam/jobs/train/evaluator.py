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
    """Evaluates the run's policies on its held-out tasks, and keeps a row of metrics each time.

    `beside`: trees of the next step grow meanwhile, on the same weights, which are loaded.
    """

    context: RunContext
    growth: TreeGrowth
    beside: bool = False

    async def evaluate_before(self, step: int) -> None:
        """Evaluate what is due before a step: what a warm start made, or so many steps did."""
        recipe = self.context.recipe
        if not step and recipe.sft is not None:
            await self.evaluate("warm start", 0, self.beside)
        elif step and recipe.run.eval_every and step % recipe.run.eval_every == 0:
            await self.evaluate("train", step, self.beside)

    async def evaluate(self, stage: str, step: int, beside: bool = False) -> None:
        """Evaluate at a stage (start, warm start, train, final), unless that was done; say it."""
        context, tasks = self.context, self.context.plan.eval.tasks
        if not tasks or context.metrics.has("eval", stage, step):
            return
        trees = stage if stage in WHEN else "eval"
        keys = [TreeKey(trees, step, n) for n in range(len(tasks))]
        if beside:
            grown = await self._grow(True, keys, tasks)
        else:
            await context.policies.load()
            grown = await self._grow(stage == "train", keys, tasks)
            await context.policies.load()
        row = {"kind": "eval", "stage": stage, "step": step}
        row |= measure(grown, context.recipe.reward.delegation) | why(grown)
        store, stages = context.folder.store, (trees,)
        row |= earlier_turns(store, stages, step) | redone(store, stages, step)
        context.metrics.add({**row, "seconds": context.ledger.wall_seconds()})
        self._say(row, WHEN.get(stage, f"after {step} steps"))
        context.folder.report(context.policies.chats)

    async def _grow(
        self, among: bool, keys: Sequence[TreeKey], tasks: Sequence[Task]
    ) -> list[Tree]:
        """The trees of an evaluation, with a bar; `among` steps the bar of training tells it."""
        grower, progress = self.context.greedy, self.context.progress
        if among:
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
