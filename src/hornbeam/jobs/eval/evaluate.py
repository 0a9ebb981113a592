"""Greedy evaluation of weights on the held-out tasks of a recipe, outside any run."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from hornbeam.assembly.failed_episodes import warn_of_unknown_tools, why
from hornbeam.assembly.loading import load_policies
from hornbeam.assembly.plan import Plan
from hornbeam.assembly.progress import Progress
from hornbeam.assembly.step_costs import kept_share
from hornbeam.assembly.task_order import tree_seed
from hornbeam.assembly.world import World
from hornbeam.jobs.train.tree_metrics import measure
from hornbeam.recipe.recipe import Recipe
from hornbeam.store.database import TreeKey
from hornbeam.store.ledger import Ledger
from hornbeam.tree.nodes import Tree


async def evaluate(
    recipe: Recipe, plan: Plan, model: str | None = None, progress: Progress | None = None
) -> tuple[list[Tree], dict[str, Any]]:
    """(grown trees, measures and costs) of a model on the held-out tasks.

    With `progress` its progress is seen.
    """
    if model is not None:
        recipe = recipe.with_weights(model)
    with tempfile.TemporaryDirectory() as scratch:
        policies = load_policies(recipe, Path(scratch), lambda text: None)
        world = World.build(recipe, plan, policies)
        ledger = Ledger(recipe.budget)
        try:
            await policies.load()
            keys = [TreeKey("eval", 0, number) for number in range(len(plan.eval.tasks))]
            starts = [
                (key, Tree(task.to_json(), seed=tree_seed(recipe.run.seed, key)))
                for key, task in zip(keys, plan.eval.tasks)
            ]
            grower = world.grower(ledger, None, greedy=True)
            if progress is not None:
                grower = replace(grower, ended=progress.count("evaluation", len(starts)))
            trees = await grower.grow_all(starts)
            if progress is not None:
                warn_of_unknown_tools(trees, progress)
        finally:
            if progress is not None:
                progress.end()
            await world.aclose()
    costs = ledger.take()
    figures = {**measure(trees), **why(trees), **kept_share(costs)}
    return trees, {**figures, "costs": costs, **policies.served}
