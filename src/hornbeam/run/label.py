"""Labelling steps by search: a tree of runs for every training task, with the value of each step.

The search goes by the gold answers (that is what labels are for). What is written are the trees
with columns "visits" and "q", and "label" where the recipe names a rule for it; a task whose root
value is near certain may be left out, and is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hornbeam.errors import ProgramError, RecipeError
from hornbeam.grow import Grower
from hornbeam.ledger import NO_BUDGET, Ledger
from hornbeam.run.choices import label_strategy
from hornbeam.run.engines import keeps_ids
from hornbeam.run.forest import Forest, part
from hornbeam.run.lacking import ENGINE_TELLS_NONE, all_tell
from hornbeam.run.recipe import Recipe
from hornbeam.run.retold import retell, runs_of
from hornbeam.run.watch import Watch
from hornbeam.run.wire import Plan
from hornbeam.search import Mcts, Rollouts
from hornbeam.search.chunk_labels import apply
from hornbeam.search.labels import account, informative, label
from hornbeam.settings import digest
from hornbeam.tasks.base import Task
from hornbeam.tree import Tree
from hornbeam.treefile import json_line, to_json

NO_IDS = (
    'engine.kind = "chat" without engine.tokenizer keeps text alone, and `hornbeam fit` reads token'
    " ids of the model that it fits: to fit on these labels name its folder as engine.tokenizer"
)


class Label:
    """The label search of a recipe over its training tasks, in a run folder.

    With `trees` it is about their tasks, and their runs are the trunks that rollouts leave from; a
    tree with fewer of them than the strategy's `trunks` gets the rest from the policy. Raises
    `RecipeError` for `trees` and another strategy.
    """

    def __init__(
        self, recipe: Recipe, plan: Plan, path: Path, watch: Watch, trees: Sequence[Tree] = ()
    ) -> None:
        choice = recipe.label
        self.strategy = label_strategy(choice)
        self.recipe, self.watch, self.path = recipe, watch, path
        if trees:
            if not isinstance(self.strategy, Rollouts):
                raise RecipeError(
                    "recorded runs are labelled by rollouts alone: add --method rollouts"
                )
            loaded = replace(plan.train, tasks=[Task.from_json(tree.task) for tree in trees])
            plan = replace(plan, train=loaded)
        self.trees = trees[choice.skip :][: choice.tasks]
        self.tasks = part(plan.train.tasks, choice.skip, choice.tasks, "label")
        how: list[Any] = [recipe.label.strategy, self.strategy.identity(), recipe.label.skip]
        how += [runs_of(tree) for tree in trees]
        self.stage = f"label {digest(how)}"
        self.forest = Forest(recipe, plan, path, watch, "training")

    async def go(self) -> dict[str, Any]:
        """Search what was not searched yet; how many trees were kept, what they hold and cost.

        Raises `ProgramError` where no run of any task has a reward: nothing is written then.
        """
        forest, count = self.forest, len(self.tasks)
        if not keeps_ids(self.recipe):
            self.watch.warn(NO_IDS)
        try:
            await self._check()
            if self.trees:
                await self._retell()
            await forest.grow("labels", self.stage, self.tasks, self._grower, NO_BUDGET)
            found = dict(list(forest.trees(self.stage).items())[:count])
            trees = list(found.values())
            kept = self._labelled(trees)
            lines = "".join(json_line(to_json(tree)) for tree in kept)
            forest.folder.write("trees.jsonl", lines)
            costs, seconds = forest.store.totals(self.stage), forest.seconds(self.stage)
            paid, redone = forest.costs(self.stage), forest.redone(self.stage)
        finally:
            await forest.aclose()
        spent: dict[str, float] = {}
        for entry in (entry for key in found for entry in paid[str(key)]):
            spent[entry.kind] = spent.get(entry.kind, 0) + entry.amount
        return {
            "searched": len(trees),
            "kept": len(kept),
            "runs": sum(tree.nodes[i].done for tree in trees for i in tree.leaves()),
            "labels": _count(kept, "q", lambda v: v is not None),
            "unknown": _count(kept, "visits", lambda v: v == 0),
            "good": _count(kept, "label", lambda v: v == 1),
            "bad": _count(kept, "label", lambda v: v == -1),
            "seconds": round(seconds, 1),
            "costs": costs,
            **self.forest.world.policies.served,
            **account(trees, spent),
            **redone,
            "path": str(self.path / "trees.jsonl"),
        }

    async def _check(self) -> None:
        """Raise `RecipeError` where growth would go by log-probs that nobody tells."""
        if not self.strategy.logprobs:
            return
        await self.forest.world.policies.load()
        agents = self._grower().agents.values()
        if not all_tell((speaker.engine, speaker.sampling) for speaker in agents):
            raise RecipeError(
                f"label.strategy = {self.recipe.label.strategy!r}: {ENGINE_TELLS_NONE}: take"
                ' another pick, or "mcts" or "rollouts"'
            )

    async def _retell(self) -> None:
        """Put the recorded runs into the trees that are grown on."""
        assert isinstance(self.strategy, Rollouts)
        starts = self.forest.fresh(self.stage, self.tasks)
        most = self.strategy.trunks
        count, odd = await retell(self.trees, starts, self._grower(), most)
        if count:
            self.watch.say(f"Recorded: {count} runs of {len(self.trees)} tasks are grown on")
        if odd:
            self.watch.warn(
                f"{len(odd)} of {count} recorded runs go otherwise through the program; {odd[0]}"
            )

    def _labelled(self, trees: Sequence[Tree]) -> list[Tree]:
        """The trees that are kept, all their columns written."""
        choice, shares = self.recipe.label, isinstance(self.strategy, Rollouts)
        often = isinstance(self.strategy, Mcts) and self.strategy.style == "masprm"
        for tree in trees:
            made = self.strategy.columns(tree) if shares or often else {}
            tree.columns.update(made if shares else label(tree, times=made.get("visits")))
            if choice.chunk_label:
                apply(tree, choice.chunk_label, choice.thresholds)
        values = [v for tree in trees for v in tree.columns["q"] if v is not None]
        if not values:
            errors = [tree.nodes[i].error for tree in trees for i in tree.leaves()]
            raise ProgramError(
                f"no run of {len(trees)} tasks has a reward, so there is nothing to label; the"
                f" first of {len(errors)}: {next(filter(None, errors), 'no verdict')}"
            )
        if max(values) == min(values):
            self.watch.warn(
                f"every Q is {values[0]:g}: no label tells steps apart; easier or harder tasks"
                " (or a warm start) are wanted"
            )
        return [tree for tree in trees if informative(tree, choice.bound, shares)]

    def _grower(self) -> Grower:
        grower = self.forest.world.grower(Ledger(), self.forest.store, trained=False)
        return replace(grower, strategy=self.strategy)


def _count(trees: Sequence[Tree], column: str, wanted: Callable[[float | None], bool]) -> int:
    """How many steps have an entry of this kind."""
    return sum(wanted(v) for tree in trees for v in tree.columns.get(column, ())[1:])
