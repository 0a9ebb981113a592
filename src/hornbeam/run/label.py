"""Labelling steps by search: a tree of runs for every training task, with the value of each step.

The search goes by the gold answers (that is what labels are for). What is written are the trees
with columns "visits" and "q"; a task whose root value is near certain teaches little and is left
out, and counted.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from hornbeam.errors import RecipeError
from hornbeam.grow import Grower
from hornbeam.ledger import NO_BUDGET, Ledger
from hornbeam.run.forest import Forest, digest
from hornbeam.run.recipe import Recipe
from hornbeam.run.watch import Watch
from hornbeam.run.wire import Plan
from hornbeam.search import strategy
from hornbeam.search.labels import MAS_MCTS, informative, label
from hornbeam.treefile import write_trees


class Label:
    """The label search of a recipe over its training tasks, in a run folder."""

    def __init__(self, recipe: Recipe, plan: Plan, path: Path, watch: Watch) -> None:
        settings = recipe.label.rest()
        if recipe.label.strategy == "mcts":
            settings = {**MAS_MCTS.model_dump(exclude_unset=True), **settings, "rollout": True}
        self.strategy = strategy(recipe.label.strategy, **settings)
        if self.strategy.steps is not None:
            raise RecipeError("label.strategy: one that grows whole runs is wanted, as mcts")
        self.recipe, self.watch, self.path = recipe, watch, path
        self.tasks = plan.train.tasks[recipe.label.skip :][: recipe.label.tasks]
        if not self.tasks:
            raise RecipeError(
                f"label.skip = {recipe.label.skip} leaves none of {len(plan.train.tasks)} tasks"
            )
        how = [recipe.label.strategy, self.strategy.model_dump(), recipe.label.skip]
        self.stage = f"label {digest(how)}"
        self.forest = Forest(recipe, plan, path, watch)
        try:
            self.forest.folder.hold_tasks("training", plan.train.tasks)
        except BaseException:
            self.forest.store.close()
            raise

    async def go(self) -> dict[str, Any]:
        """Search what was not searched yet; how many trees were kept, what they hold and cost."""
        forest = self.forest
        try:
            await forest.grow("labels", self.stage, self.tasks, self._grower, NO_BUDGET)
            trees = list(forest.trees(self.stage).values())[: len(self.tasks)]
            for tree in trees:
                tree.columns.update(label(tree))
            kept = [tree for tree in trees if informative(tree, self.recipe.label.most)]
            write_trees(kept, self.path / "trees.jsonl")
            costs, seconds = forest.store.totals(self.stage), forest.seconds(self.stage)
        finally:
            await forest.aclose()
        return {
            "searched": len(trees),
            "kept": len(kept),
            "runs": sum(len(tree.leaves()) for tree in trees),
            "labels": sum(v is not None for tree in kept for v in tree.columns["q"][1:]),
            "seconds": round(seconds, 1),
            "costs": costs,
            "path": str(self.path / "trees.jsonl"),
        }

    def _grower(self) -> Grower:
        grower = self.forest.world.grower(Ledger(), self.forest.store, trained=False)
        return replace(grower, strategy=self.strategy)
