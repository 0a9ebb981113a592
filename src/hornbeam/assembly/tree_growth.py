"""Growing many trees into a run folder outside training: what searches and labels share.

Every tree has a ledger of its own, so that a budget is that of one question. What is grown is not
grown again, half-grown trees grow on, and wall seconds add up over the processes that worked on
them. What a stop made necessary again is no cost of the trees: it is told apart.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

from hornbeam.assembly.failed_episodes import check_first, warn_of_unknown_tools
from hornbeam.assembly.plan import Plan
from hornbeam.assembly.progress import Progress
from hornbeam.assembly.run_folder import Folder
from hornbeam.assembly.step_costs import redone_tokens
from hornbeam.assembly.task_order import question_seeds, tree_seed
from hornbeam.assembly.world import World
from hornbeam.errors import RecipeError
from hornbeam.grow.grower import Grower
from hornbeam.grow.resumed import Before
from hornbeam.recipe.recipe import Recipe
from hornbeam.store.database import Store, Stored, TreeKey
from hornbeam.store.ledger import Budget, Entry, Ledger, warning_of_state
from hornbeam.tree.nodes import Tree
from hornbeam.tree.task import Task


def part(tasks: Sequence[Task], skip: int, count: int | None, section: str) -> list[Task]:
    """`count` tasks (all, if None) after the first `skip`; `RecipeError` where none is left."""
    chosen = list(tasks[skip:][:count])
    if not chosen:
        raise RecipeError(f"{section}.skip = {skip} leaves none of {len(tasks)} tasks")
    return chosen


Grown = tuple[TreeKey, Tree, Mapping[str, float]]  # what it cost in all, by kind


class StoreGrower:
    """Grows trees into a store, and reports progress."""

    def __init__(self, recipe: Recipe, store: Store, world: World, progress: Progress) -> None:
        self.recipe, self.store, self.world, self.progress = recipe, store, world, progress
        self._enter = warning_of_state(store.enter, world.plan.tools, progress.warn)

    async def aclose(self) -> None:
        """Give back what is held."""
        self.progress.end()
        await self.world.aclose()
        self.store.close()

    async def grow_on(
        self,
        what: str,
        stage: str,
        starts: Sequence[tuple[TreeKey, Tree | Stored]],
        of: int,
        make: Callable[[], Grower],
        budget: Budget,
        kept: Callable[[Sequence[Grown]], None] = lambda grown: None,
        may_fail: bool = False,
    ) -> None:
        """Trees of a stage from where they start, the last of `of` trees; `kept` hears of them.

        Unless they `may_fail`, it is an error that all runs of the first ones fail alike.
        """
        before: dict[str, list[Entry]] = {}
        for entry in self.store.entries(stage):
            before.setdefault(entry.tree, []).append(entry)
        began = self._began(stage, what)
        stopped = began is not None
        # How many episodes every tree had when this growth began, be it before a stop.
        had = {tree: 1 + max(entry.episode for entry in paid) for tree, paid in before.items()}
        had = had if began is None else began
        if starts or stopped:
            self.store.set(f"growing/{stage}", {"what": what, "had": had} if starts else None)
        if not starts:
            return
        ledgers: dict[TreeKey, Ledger] = {}

        def ledger(key: TreeKey) -> Ledger:
            ledgers[key] = self.ledger(budget, before.get(str(key), ()))
            return ledgers[key]

        grower = replace(make(), ledgers=ledger)
        if stopped:
            held = {key: self.store.read(key) for key in self.store.keys(stage)}
            held |= {key: held[key]._replace(done=False) for key, _ in starts if key in held}
            own = [e for es in before.values() for e in es if e.episode >= had.get(e.tree, 0)]
            grower = replace(grower, before=Before.of(held, own))
        done, at_once = of - len(starts), self.recipe.run.at_once
        self.progress.begin(what, of, done)
        ended = count(done + 1)
        grower = replace(grower, ended=lambda: self.progress.step(next(ended), ""))
        await self.world.policies.load()  # no prefix is kept from before
        alone = {*self.store.keys()} <= {key for key, _ in starts}  # nothing was grown before
        for first in range(0, len(starts), at_once):
            part = starts[first : first + at_once]
            start = time.perf_counter()
            grown = await grower.grow_all(part, at_once)
            self.add_seconds(stage, time.perf_counter() - start)
            warn_of_unknown_tools(grown, self.progress)
            keys = [key for key, _ in part]
            if done + len(part) == of:  # written with what is kept of the last
                self.store.set(f"growing/{stage}", None)
            kept([(key, tree, ledgers[key].totals) for key, tree in zip(keys, grown)])
            if alone and not first and not may_fail:
                check_first(self.store, keys, grown, f"no run of {len(keys)} tasks has a reward")
            done += len(part)
            self.progress.step(done, "", f"{what}: {done}/{of}")
        self.progress.end()

    def ledger(self, budget: Budget, before: Sequence[Entry] = ()) -> Ledger:
        """The ledger of one tree, for which this was paid before."""
        spent: dict[str, float] = {}
        for entry in before:
            spent[entry.kind] = spent.get(entry.kind, 0) + entry.amount
        return Ledger(budget, spent, sink=self._enter, redoes=False, timed=False)

    def add_seconds(self, name: str, seconds: float) -> None:
        """Wall seconds of some work, over all processes that did it."""
        self.store.set(f"seconds/{name}", self.seconds(name) + seconds)

    def _began(self, stage: str, what: str) -> dict[str, int] | None:
        """How many episodes every tree had when this growth began, where one was stopped."""
        growing = self.store.get(f"growing/{stage}")
        with self.store.reading(f"value of 'growing/{stage}'"):
            if growing is None or growing["what"] != what:
                return None
            return {str(tree): int(episodes) for tree, episodes in growing["had"].items()}

    def seconds(self, name: str) -> float:
        """What was added up so far."""
        with self.store.reading(f"value of 'seconds/{name}'"):
            return float(self.store.get(f"seconds/{name}") or 0.0)

    def redone(self, *stages: str) -> dict[str, float]:
        """Tokens that were paid and are in no result, as results have them; {} where none were."""
        tokens = sum(redone_tokens(self.store, stage) for stage in stages)
        return {"redone_tokens": tokens} if tokens else {}

    def trees(self, stage: str) -> dict[TreeKey, Tree]:
        """The stored trees of a stage, in order."""
        return {key: self.store.read(key).tree for key in self.store.keys(stage)}

    def costs(self, stage: str) -> dict[str, list[Entry]]:
        """Ledger entries of every tree of a stage, by its name."""
        out: dict[str, list[Entry]] = {str(key): [] for key in self.store.keys(stage)}
        for entry in self.store.entries(stage):
            out.setdefault(entry.tree, []).append(entry)
        return out


class FolderGrower(StoreGrower):
    """A `StoreGrower` with a run folder. Raises as its parts do.

    The run is about the `kind` of tasks that is named, "training" or "held-out", for good.
    """

    def __init__(
        self, recipe: Recipe, plan: Plan, path: Path, progress: Progress, kind: str
    ) -> None:
        self.folder, self.plan = Folder(path, recipe), plan
        store = self.folder.store
        try:
            # Searches of a folder that was begun before go on by the places of their questions.
            begun = bool(store.keys()) and store.get("seeds") != "question"
            self._by_question = kind == "held-out" and not begun
            if self._by_question:
                store.set("seeds", "question")
            self.folder.hold_tasks(kind, (plan.train if kind == "training" else plan.eval).tasks)
            self.folder.hold_code(plan.base)
            world = World.load(recipe, plan, path / "model", progress.say)
            super().__init__(recipe, store, world, progress)
        except BaseException:
            store.close()
            raise

    def fresh(self, stage: str, tasks: Sequence[Task]) -> list[tuple[TreeKey, Tree]]:
        """A tree for each task under its key, nothing grown."""
        keys = [TreeKey(stage, 0, number) for number in range(len(tasks))]
        seed = self.recipe.run.seed
        if self._by_question:
            seeds = question_seeds(seed, tasks)
        else:
            seeds = [tree_seed(seed, key._replace(stage="search")) for key in keys]
        return [(k, Tree(t.to_json(), seed=s)) for k, t, s in zip(keys, tasks, seeds)]

    async def grow(
        self,
        what: str,
        stage: str,
        tasks: Sequence[Task],
        make: Callable[[], Grower],
        budget: Budget,
    ) -> None:
        """Trees of the tasks under a stage, those that are not grown yet.

        A tree's seed depends on the run's seed and its task alone (a search's on the question, a
        label's on its place), so all methods draw the same where they ask the same.
        """
        stored = {key: self.store.read(key) for key in self.store.keys(stage)}
        starts: list[tuple[TreeKey, Tree | Stored]] = []
        for key, fresh in self.fresh(stage, tasks):
            if key not in stored or not stored[key].done:
                starts.append((key, stored.get(key, fresh)))
        await self.grow_on(what, stage, starts, len(tasks), make, budget)
