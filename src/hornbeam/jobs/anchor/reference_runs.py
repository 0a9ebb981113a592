"""Runs of one set of weights on tasks, kept in a store with the results of each task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial

from hornbeam.assembly.task_records import Record, mark_of, mark_of_task, rewards_of
from hornbeam.assembly.tree_growth import Grown, StoreGrower
from hornbeam.assembly.world import World
from hornbeam.errors import ProgramError
from hornbeam.grow.grower import Grower
from hornbeam.protocols import Engine
from hornbeam.search import Independent
from hornbeam.store.database import Store, Stored, TreeKey
from hornbeam.store.ledger import NO_BUDGET, Ledger
from hornbeam.tree.nodes import Tree
from hornbeam.tree.task import Task


class Reference:
    """Runs of one set of weights on tasks, in a store. `make` makes what grows them."""

    def __init__(
        self, store_grower: StoreGrower, mark: str, solved: float, make: Callable[[int], Grower]
    ) -> None:
        self.store_grower, self.store, self.mark, self.solved = (
            store_grower,
            store_grower.store,
            mark,
            solved,
        )
        self.make, self.stage = make, f"anchor {mark}"
        self.records: dict[str, Record] = {}  # by mark of the task
        with self.store.reading(f"value of '{mark}/count'"):
            self.count = int(self.store.get(f"{mark}/count", 0))

    def record(self, task: Task) -> Record:
        """What is known of a task; a new one gets a tree of its own."""
        name = mark_of_task(task)
        if name not in self.records:
            found = Record.read(self.store, f"{self.mark}/{name}")
            if found is None:
                found, self.count = Record(self.count), self.count + 1
                self.store.set(f"{self.mark}/count", self.count)
                self._keep(name, found)
            self.records[name] = found
        return self.records[name]

    async def run(self, what: str, tasks: Sequence[Task], rollouts: int) -> int:
        """At least so many runs of every task; how many tasks needed new ones.

        Raises `ProgramError` where the very first runs have no reward: those are forgotten.
        """
        names = {self.record(task).number: mark_of_task(task) for task in tasks}
        left = [task for task in tasks if len(self.record(task).rewards) < rollouts]
        held = set(self.store.keys(self.stage))
        starts: list[tuple[TreeKey, Tree | Stored]] = []
        for task in left:
            key = TreeKey(self.stage, 0, self.record(task).number)
            seed = int(mark_of([self.mark, mark_of_task(task)]), 16) >> 1
            start = self.store.read(key) if key in held else Tree(task.to_json(), seed=seed)
            starts.append((key, start))

        def kept(grown: Sequence[Grown]) -> None:
            known = any(r.rewards for r in self.records.values())
            if not known and not self.store.get(f"{self.mark}/rewarded"):
                self._check([key for key, _, _ in grown], [tree for _, tree, _ in grown])
            for key, tree, costs in grown:
                paid = {kind: amount for kind, amount in costs.items() if kind != "seconds"}
                self._keep(names[key.number], Record(key.number, rewards_of(tree), paid))
            self.store.flush()

        make = partial(self.make, rollouts)
        await self.store_grower.grow_on(what, self.stage, starts, len(tasks), make, NO_BUDGET, kept)
        return len(left)

    def _keep(self, name: str, record: Record) -> None:
        self.records[name] = record
        self.store.set(f"{self.mark}/{name}", asdict(record))

    def _check(self, keys: Sequence[TreeKey], trees: Sequence[Tree]) -> None:
        if any(reward is not None for tree in trees for reward in rewards_of(tree)):
            self.store.set(f"{self.mark}/rewarded", True)
            return
        for key in keys:
            self.store.forget(*key)
        errors = [tree.nodes[i].error for tree in trees for i in tree.leaves()]
        raise ProgramError(
            f"no run of the first {len(trees)} tasks has a reward, so nothing is anchored; the"
            f" first of {len(errors)}: {next(filter(None, errors), 'no verdict')}"
        )

    def kinds(self, tasks: Sequence[Task]) -> dict[str, list[Task]]:
        """The tasks that are solved, mixed and unsolved."""
        out: dict[str, list[Task]] = {"solved": [], "mixed": [], "unsolved": []}
        for task in tasks:
            out[self.record(task).kind(self.solved)].append(task)
        return out


def independent_runs(
    world: World, store: Store, rollouts: int, engine: Engine | None = None
) -> Grower:
    """What grows independent runs of the policy, or of who speaks by another engine."""
    grower = world.grower(Ledger(), store, trained=False)
    agents = dict(grower.agents)
    if engine is not None:
        goes_on = getattr(engine, "continues", True)
        agents = {
            name: replace(agent, engine=engine, segment=agent.segment if goes_on else None)
            for name, agent in agents.items()
        }
    return replace(grower, agents=agents, strategy=Independent(n=rollouts))
