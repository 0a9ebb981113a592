"""Labelling steps by search: a tree of runs for every training task, with the value of each step.

The search goes by the gold answers (that is what labels are for). What is written are the trees
with columns "visits" and "q", and "label" where the recipe names a rule for it; a task whose root
value is near certain may be left out, and is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hornbeam.assembly.plan import Plan
from hornbeam.assembly.progress import Progress
from hornbeam.assembly.tree_growth import FolderGrower, part
from hornbeam.errors import RecipeError
from hornbeam.grow.grower import Grower
from hornbeam.jobs.label.labelled_trees import (
    account_of,
    counts,
    json_lines,
    label_trees,
    warn_of_ids,
)
from hornbeam.jobs.label.rerun_trees import rerun, runs_of
from hornbeam.jobs.search.missing import ENGINE_GIVES_NONE, all_give_logprobs
from hornbeam.recipe.labelling import trunks_of
from hornbeam.recipe.recipe import Recipe
from hornbeam.recipe.sections import label_identity, label_strategy
from hornbeam.settings import digest
from hornbeam.store.ledger import NO_BUDGET, Ledger
from hornbeam.tree.nodes import Tree
from hornbeam.tree.task import Task


class Label:
    """The label search of a recipe over its training tasks, in a run folder.

    With `trees` it is about their tasks, and their runs are the trunks that rollouts leave from; a
    tree with fewer of them than the strategy's `trunks` gets the rest from the policy. Raises
    `RecipeError` for `trees` and another strategy.
    """

    def __init__(
        self, recipe: Recipe, plan: Plan, path: Path, progress: Progress, trees: Sequence[Tree] = ()
    ) -> None:
        choice = recipe.label
        self.strategy = label_strategy(choice, recipe.base)
        self.recipe, self.progress, self.path = recipe, progress, path
        if trees:
            if trunks_of(self.strategy) is None:
                raise RecipeError(
                    "recorded runs are labelled by rollouts alone: add --method rollouts, or blame"
                )
            loaded = replace(plan.train, tasks=[Task.from_json(tree.task) for tree in trees])
            plan = replace(plan, train=loaded)
        self.trees = trees[choice.skip :][: choice.tasks]
        self.tasks = part(plan.train.tasks, choice.skip, choice.tasks, "label")
        how = label_identity(choice, self.strategy, recipe.base)
        self.stage = f"label {digest([*how, *map(runs_of, trees)])}"
        self.folder_grower = FolderGrower(recipe, plan, path, progress, "training")

    async def go(self) -> dict[str, Any]:
        """Search what was not searched yet; how many trees were kept, what they hold and cost.

        Raises `ProgramError` where no run of any task has a reward: nothing is written then.
        """
        folder_grower, count = self.folder_grower, len(self.tasks)
        warn_of_ids(self.recipe, self.progress.warn)
        try:
            await self._check()
            if self.trees:
                await self._rerun()
            await folder_grower.grow("labels", self.stage, self.tasks, self._grower, NO_BUDGET)
            found = dict(list(folder_grower.trees(self.stage).items())[:count])
            trees = list(found.values())
            kept = label_trees(
                trees, self.recipe.label, self.strategy, self.progress.warn, self.recipe.base
            )
            folder_grower.folder.write("trees.jsonl", json_lines(kept))
            costs, seconds = (
                folder_grower.store.totals(self.stage),
                folder_grower.seconds(self.stage),
            )
            paid, redone = folder_grower.costs(self.stage), folder_grower.redone(self.stage)
        finally:
            await folder_grower.aclose()
        return {
            **counts(trees, kept),
            "seconds": round(seconds, 1),
            "costs": costs,
            **self.folder_grower.world.policies.served,
            **account_of(trees, [entry for key in found for entry in paid[str(key)]]),
            **redone,
            "path": str(self.path / "trees.jsonl"),
        }

    async def _check(self) -> None:
        """Raise `RecipeError` where growth would go by log-probs that nobody tells."""
        if not self.strategy.logprobs:
            return
        await self.folder_grower.world.policies.load()
        agents = self._grower().agents.values()
        if not all_give_logprobs((speaker.engine, speaker.sampling) for speaker in agents):
            raise RecipeError(
                f"label.strategy = {self.recipe.label.strategy!r}: {ENGINE_GIVES_NONE}: take"
                ' another pick, or "mcts" or "rollouts"'
            )

    async def _rerun(self) -> None:
        """Put the recorded runs into the trees that are grown on."""
        starts = self.folder_grower.fresh(self.stage, self.tasks)
        most = trunks_of(self.strategy) or 1
        count, odd = await rerun(self.trees, starts, self._grower(), most)
        if count:
            self.progress.say(f"Recorded: {count} runs of {len(self.trees)} tasks are grown on")
        if odd:
            self.progress.warn(
                f"{len(odd)} of {count} recorded runs are not reproduced by the program; {odd[0]}"
            )

    def _grower(self) -> Grower:
        grower = self.folder_grower.world.grower(Ledger(), self.folder_grower.store, trained=False)
        return replace(grower, strategy=self.strategy)
