"""Growing the trees of a run: each is read where it is grown, and grown on where it is not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from hornbeam.assembly.failed_episodes import check_grown, warn_of_unknown_tools
from hornbeam.assembly.task_order import tree_seed
from hornbeam.grow.grower import Grower
from hornbeam.grow.resumed import Before
from hornbeam.jobs.train.parts import StartTree, TaskSource, TreeGrowth
from hornbeam.jobs.train.run_context import RunContext
from hornbeam.jobs.train.spread_growth import grow_spread, is_spread
from hornbeam.search import Independent
from hornbeam.store.database import Stored, TreeKey
from hornbeam.tree.nodes import Tree
from hornbeam.tree.task import Task

MakeGrowth = Callable[[RunContext, StartTree, bool], TreeGrowth]
TOGETHER = ("train", "warm start", "eval")  # stages of which two may be sampled by equal weights


def as_it_is(key: TreeKey, tree: Tree) -> Tree:
    """A fresh tree of whose task nothing is known."""
    return tree


@dataclass(frozen=True, slots=True)
class StoredGrowth:
    """Grows into a store: read where grown, grown on where half-grown, else begun.

    With `resume = "exact"` a step of which a tree is missing is grown again from its seeds.
    `shared`: a step's trees and an evaluation before it grow beside each other, and share prefixes.
    """

    context: RunContext
    start: StartTree = as_it_is
    shared: bool = False

    async def grow(
        self, grower: Grower, keys: Sequence[TreeKey], tasks: Sequence[Task]
    ) -> list[Tree]:
        """The trees of these keys. Raises `ProgramError` where all of the first ones failed."""
        run, store = self.context.recipe.run, self.context.folder.store
        stored = self._stored(keys)
        trees = {key: left.tree for key, left in stored.items() if left.done}
        starts: list[tuple[TreeKey, Tree | Stored]] = [
            (key, stored[key] if key in stored else self._fresh(key, task))
            for key, task in zip(keys, tasks)
            if key not in trees
        ]
        if starts and not run.behind:
            grower = replace(grower, before=self._before(keys[0], stored))
        if is_spread(grower) and starts:
            grown = await grow_spread(grower, starts, [*trees.values()], run.at_once)
        else:
            grown = await grower.grow_all(starts, run.at_once)
        warn_of_unknown_tools(grown, self.context.progress)
        trees.update({key: tree for (key, _), tree in zip(starts, grown)})
        store.flush()
        out = [trees[key] for key in keys]
        begun = not starts or self.context.metrics.begun
        check_grown(store, keys, out, begun, self.context.world.scorer.silent)
        return out

    def _stored(self, keys: Sequence[TreeKey]) -> dict[TreeKey, Stored]:
        """What is stored of the step, grown or half-grown, and may be used."""
        store, (stage, step, _) = self.context.folder.store, keys[0]
        stored = {key: store.read(key) for key in store.keys(stage, step)}
        whole = all(key in stored and stored[key].done for key in keys)
        if self.context.recipe.run.resume == "exact" and not whole:
            store.forget(stage, step)
            return {}
        return stored

    def _before(self, key: TreeKey, own: dict[TreeKey, Stored]) -> Before | None:
        """What a stopped process had run by these weights, for a step and an evaluation beside it.

        Both ask before either samples, so none of it is this process's own.
        """
        store, held = self.context.folder.store, dict(own)
        stages = TOGETHER if self.shared and key.stage in TOGETHER else (key.stage,)
        for stage in stages:
            if stage != key.stage:
                held |= {other: store.read(other) for other in store.keys(stage, key.step)}
        if not held:
            return None
        return Before.of(held, (e for stage in stages for e in store.entries(stage, key.step)))

    def _fresh(self, key: TreeKey, task: Task) -> Tree:
        seed = tree_seed(self.context.recipe.run.seed, key)
        return self.start(key, Tree(task.to_json(), seed=seed))


@dataclass(frozen=True, slots=True)
class StepGrower:
    """The trees of a training step, grown when they are asked for."""

    context: RunContext
    growth: TreeGrowth
    source: TaskSource

    async def trees(self, step: int) -> list[Tree]:
        """The trees of a step: those that are grown already, and the rest grown now."""
        keys = [TreeKey("train", step, n) for n in range(self.context.recipe.run.tasks)]
        tasks = await self.source.tasks(step, self.runs)
        return await self.growth.grow(self.context.grower, keys, tasks)

    async def runs(self, keys: list[TreeKey], tasks: list[Task], rollouts: int) -> list[Tree]:
        """Independent runs of the present policy, by which tasks are measured."""
        how = replace(self.context.grower, strategy=Independent(n=rollouts), guides=())
        grown = await self.growth.grow(how, keys, tasks)
        await self.context.policies.load()
        return grown

    def idle(self, grown: float, trained: float) -> tuple[float, float]:
        """One works while the other waits."""
        return trained, grown

    async def aclose(self) -> None:
        """Nothing grows between two steps."""
