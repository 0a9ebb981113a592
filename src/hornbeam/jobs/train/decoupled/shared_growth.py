"""Growing trees with other trainers: each is grown by whoever claims it, in the shared store.

A process serves its policy while trees grow, with weights that have learned from all steps before
the one whose trees it grows. It goes on to the next phase when all trees of this one are grown. So
in lockstep (`behind` = 0) every answer is given by the weights that a joint run would have; with
`behind` = k they may be k steps older, and trees are grown up to k steps ahead. An evaluation is in
lockstep always.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hornbeam.assembly.failed_episodes import warn_of_unknown_tools
from hornbeam.assembly.task_order import task_at, tree_seed
from hornbeam.engine.remote.queued_engine import LATEST, SOONEST
from hornbeam.grow.grower import Grower
from hornbeam.jobs.train.decoupled.decoupled_policies import DecoupledPolicies
from hornbeam.jobs.train.decoupled.membership import Membership, steps_learned
from hornbeam.jobs.train.run_context import RunContext
from hornbeam.store.database import Stored, TreeKey
from hornbeam.tree.nodes import Tree
from hornbeam.tree.task import Task


class SharedGrowth:
    """Grows what this process claims, and serves its policy to the others meanwhile."""

    def __init__(
        self, context: RunContext, policies: DecoupledPolicies, member: Membership
    ) -> None:
        self.run, self.names = context.recipe.run, context.recipe.names
        self.tasks, self.progress = context.plan.train.tasks, context.progress
        self.policies, self.member, self.store = policies, member, member.store
        self.absent: set[str] = set()  # policies said to be missed

    async def grow(
        self, grower: Grower, keys: Sequence[TreeKey], tasks: Sequence[Task]
    ) -> list[Tree]:
        """Trees by key, grown here or by others; this policy is served until all are grown."""
        queue, learned = self.member.queue, steps_learned(*keys[0][:2])
        chosen, ahead, pause = dict(zip(keys, tasks)), self._ahead(keys[0]), SOONEST
        async with self.member.worker.serving(self.policies.own.engine, learned):
            while left := queue.undone(keys):
                share = -(-len(left) // len(self.policies))
                mine = queue.claim(left, share)
                if not mine and ahead:
                    mine = queue.claim(queue.undone(list(ahead)), share)
                if mine:
                    await self._grow(grower, {k: {**chosen, **ahead}[k] for k in mine})
                    pause = SOONEST
                else:
                    self._say_absent()
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, LATEST)
        queue.clear(keys)  # what one killed between its last answer and `clear` left
        return [self.store.read(key).tree for key in keys]

    def _ahead(self, key: TreeKey) -> dict[TreeKey, Task]:
        """Trees of later steps that may grow already."""
        run = self.run
        last = min(key.step + run.behind, run.steps - 1) if key.stage == "train" else -1
        return {
            TreeKey("train", step, n): task_at(self.tasks, run.seed, step * run.tasks + n)
            for step in range(key.step + 1, last + 1)
            for n in range(run.tasks)
        }

    async def _grow(self, grower: Grower, mine: dict[TreeKey, Task]) -> None:
        """Grow claimed trees."""
        starts = [(key, self._start(key, task)) for key, task in mine.items()]
        waiting = asyncio.create_task(self._say_absent_often())
        try:
            grown = await grower.grow_all(starts, self.run.at_once)
            warn_of_unknown_tools(grown, self.progress)
        finally:
            waiting.cancel()
        self.member.queue.clear(list(mine))

    def _start(self, key: TreeKey, task: Task) -> Tree | Stored:
        """A fresh tree; one left half-grown goes on from there, or "exact" from its seeds."""
        if key in self.store.keys(key.stage, key.step):
            if self.run.resume == "keep":
                return self.store.read(key)
            self.store.forget(*key)
        return Tree(task.to_json(), seed=tree_seed(self.run.seed, key))

    # --- who is missed -----------------------------------------------------------------------

    async def _say_absent_often(self) -> None:
        """While answers are waited for, say who is missed."""
        while True:
            await asyncio.sleep(self.run.lease / 4)
            if self.member.worker.waits:
                self._say_absent()

    def _say_absent(self) -> None:
        """Say once which policy nobody trains, and that it is back."""
        lease = self.member.lease
        while lease.fallen:
            self.progress.warn(lease.fallen.pop(0))
        for name in self.names if lease.owners else ():
            owner = lease.owners.get(name, "")
            if not owner and name not in self.absent:
                self.absent.add(name)
                self.progress.say(
                    f"Waiting for policy {name!r}: no process trains it (--policy {name})"
                )
            elif owner and name in self.absent:
                self.absent.discard(name)
                self.progress.say(f"Policy {name!r} is trained by {owner}")
