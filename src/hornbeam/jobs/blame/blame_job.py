"""Blaming runs: each recorded run becomes the trunk of a tree of its own, forks grow from it.

The forks are kept in a run folder of their own, so what was paid is not paid again: the same
command goes on from them, with a larger budget too. The run that is blamed is only read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hornbeam.assembly.plan import Plan
from hornbeam.assembly.progress import Progress
from hornbeam.assembly.tree_growth import FolderGrower
from hornbeam.blame import Blame, BlameForks
from hornbeam.blame.tree_forks import steps_of
from hornbeam.errors import ProgramError
from hornbeam.jobs.blame.failed_runs import RecordedRun
from hornbeam.jobs.blame.guide_values import GUIDE, RunGuide
from hornbeam.jobs.blame.run_trunk import begin, identity_of
from hornbeam.recipe.recipe import Recipe
from hornbeam.search import State, restore
from hornbeam.settings import digest
from hornbeam.store.database import Stored, TreeKey
from hornbeam.store.ledger import NO_BUDGET, Entry, Ledger
from hornbeam.tree.nodes import Tree

FREE = ("forks", "tokens", "confidence")  # with others the forks that were paid are kept
APART = 10_000  # numbers of forks between two runs of one tree
LEAST = 24  # forks of a run that is looked at, among several


@dataclass(frozen=True, slots=True)
class BlamedRun:
    """A run, what was found of it, the tree of its forks (its path is episode 0), what they cost.

    `nodes` [steps]: its steps, nodes of `tree`.
    """

    run: RecordedRun
    blame: Blame
    tree: Tree
    nodes: Sequence[int]
    costs: dict[str, float] = field(default_factory=dict)


class BlameRuns:
    """Blames runs by forks in the folder `path`. Raises as its parts do."""

    def __init__(
        self, recipe: Recipe, plan: Plan, path: Path, progress: Progress, how: BlameForks
    ) -> None:
        self.recipe, self.how, self.progress = recipe, how, progress
        self.grower = FolderGrower(recipe, plan, path, progress, "blamed")
        self.guide = RunGuide(recipe)

    async def go(self, runs: Sequence[RecordedRun]) -> list[BlamedRun]:
        """What is found of each run; all of them share the budget of forks and tokens.

        A share is at least `LEAST` forks, so that a step can be found at all: the newest runs come
        first. What one leaves of it goes to those that come, and then to those left undecided.
        """
        found: dict[int, BlamedRun] = {}
        odd = list[str]()  # why runs were left out
        forks, tokens = self.how.forks, self.how.tokens
        left, bought = [*range(len(runs))], True
        try:
            while left and bought and forks > 0:
                bought = False
                for place, number in enumerate(left):
                    many = min(len(left) - place, max(1, forks // LEAST))
                    before = found.get(number)
                    had = (before.blame.forks, before.blame.tokens) if before else (0, 0)
                    share: dict[str, int] = {"forks": had[0] + max(1, forks // many)}
                    if tokens is not None:
                        share["tokens"] = had[1] + max(1, tokens // many)
                    how = self.how.model_copy(update=share)
                    try:
                        blamed = await self._blame(runs[number], how)
                    except ProgramError as error:
                        if len(runs) == 1:
                            raise
                        odd.append(str(error))
                        continue
                    found[number] = blamed
                    forks -= blamed.blame.forks - had[0]
                    tokens = None if tokens is None else tokens - blamed.blame.tokens + had[1]
                    bought = bought or blamed.blame.forks > had[0]
                    if forks < 1:
                        break
                left = [n for n in left if n in found and found[n].blame.why == "undecided"]
        finally:
            await self.guide.aclose()
            await self.grower.aclose()
        if odd and not found:
            raise ProgramError(f"none of {len(odd)} runs can be forked; the first: {odd[0]}")
        if odd:
            left_out = f"{len(odd)} of {len(runs)} runs cannot be forked and are left out"
            self.progress.warn(f"{left_out}; the first: {odd[0]}")
        if rest := len(runs) - len(found) - len(odd):
            self.progress.warn(
                f"the forks are spent: {rest} of {len(runs)} runs were not looked at (--forks)"
            )
        return [found[number] for number in sorted(found)]

    async def _blame(self, run: RecordedRun, how: BlameForks) -> BlamedRun:
        """One run, with the budget that is its own."""
        key, store = TreeKey(self._stage(run), 0, 0), self.grower.store
        # Numbers of forks are theirs alone: none that grew the run's tree, none of another run.
        before = 1 + max(node.origin.episode for node in run.tree.nodes)
        how = how.model_copy(update={"first": how.first + before + APART * run.leaf})
        if key not in store.keys(key.stage):
            await self.grower.world.policies.load()
            await begin(run, key, self._growth(self.how), store)
        stored = store.read(key)
        if self.guide.wanted(stored.tree):
            await self._guide_values(key, stored.tree)
        first = how.model_copy(update={"forks": min(how.forks, how.batch)})
        for some in (first, how):  # a program that does not repeat the run is told early
            stored = await self._grown(run, key, stored, some)
            self._check(run, stored.tree)
        return self._found(run, key, stored.tree, how)

    async def _grown(
        self, run: RecordedRun, key: TreeKey, stored: Stored, how: BlameForks
    ) -> Stored:
        """The tree with all forks that the search asks for."""
        what = f"forks of {run.place}, node {run.leaf}"
        starts = [(key, stored._replace(done=False))] if self._lacks(stored, how) else []
        await self.grower.grow_on(
            what, key.stage, starts, 1, lambda: self._growth(how), NO_BUDGET, may_fail=True
        )
        return self.grower.store.read(key) if starts else stored

    def _check(self, run: RecordedRun, tree: Tree) -> None:
        """`ProgramError` where no fork repeats the run that it is a fork of."""
        state = restore(tree)
        inner = [end for episode, end in state.results.items() if episode and state.asked[episode]]
        errors = [tree.nodes[i].error for i in inner]
        if inner and all(error.startswith("Divergence") for error in errors):
            raise ProgramError(
                f"{run.place}: the program does not repeat the recorded run, which other code or"
                f" tools made: {errors[0]}"
            )

    def _stage(self, run: RecordedRun) -> str:
        """The stage of a run's tree: the same run finds its forks again, whatever its budget."""
        settings = {k: v for k, v in self.how.identity().items() if k not in FREE}
        return f"blame {digest([identity_of(run), settings])}"

    def _lacks(self, stored: Stored, how: BlameForks) -> bool:
        """Whether the search over a stored tree is not at its end."""
        if stored.open or not stored.done:
            return True
        tree, state = stored.tree, restore(stored.tree)
        if {node.origin.episode for node in tree.nodes[1:]} - state.results.keys():
            return True
        return bool(how.ask(tree, State(dict(state.asked), dict(state.results))))

    def _growth(self, how: BlameForks) -> Any:
        made = self.grower.world.grower(Ledger(), self.grower.store, trained=False)
        return replace(made, strategy=how)

    async def _guide_values(self, key: TreeKey, tree: Tree) -> None:
        """Keep a guide's values along the run, and what they cost."""
        values, tokens = await self.guide.values(tree)
        tree.columns[GUIDE] = values
        self.grower.store.columns(key, tree.columns)
        self.grower.store.enter([Entry(str(key), 0, -1, "scorer_tokens", tokens)])

    def _found(self, run: RecordedRun, key: TreeKey, tree: Tree, how: BlameForks) -> BlamedRun:
        """What the forks say. Raises `ProgramError` where none of them has an outcome."""
        (blame,), end = how.blames(tree), restore(tree).results[0]
        if blame.forks and blame.failed == blame.forks:
            errors = [tree.nodes[i].error for i in tree.leaves() if i != end]
            why = next(filter(None, errors), "the reward gave no verdict")
            raise ProgramError(f"{run.place}: none of {blame.forks} forks has an outcome: {why}")
        costs: dict[str, float] = {}
        for entry in self.grower.store.entries(key.stage):
            costs[entry.kind] = costs.get(entry.kind, 0) + entry.amount
        return BlamedRun(run, blame, tree, steps_of(tree, end), costs)


def places_of(blamed: BlamedRun) -> list[int]:
    """The nodes of the recorded tree where steps are; 0 where it has no such step."""
    path = blamed.run.tree.path(blamed.run.leaf)
    depths = [blamed.tree.depth(i) for i in blamed.nodes]
    return [path[d - 1] if d <= len(path) else 0 for d in depths]
