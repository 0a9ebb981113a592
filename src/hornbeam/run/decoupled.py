"""Training one policy of several in a process of its own, beside those that train the others.

The loop is that of `Run`; what differs: the store is shared, agents of other policies answer over
the desk, and the trees of a step are grown by whoever claims them. A step is trained when all of
its trees are grown; every process credits them by itself and learns from its own nodes.

A process serves its policy while trees grow, with weights that have learned from all steps before
the one whose trees it grows. It goes on to the next phase when all trees of this one are grown. So
in lockstep (`behind` = 0) every answer is given by the weights that a joint run would have; with
`behind` = k they may be k steps older, and trees are grown up to k steps ahead. An evaluation is in
lockstep always.

`resume = "exact"` asks for an engine whose answers hang on nothing but the request: which requests
share a batch is decided by arrival here, and that shows in the last bits.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from hornbeam.chat import Chat, TemplateChat
from hornbeam.desk import Desk
from hornbeam.engine.base import Engine
from hornbeam.engine.desk import LATEST, SOONEST, Clerk, DeskEngine
from hornbeam.errors import StoreError
from hornbeam.grow import Grower
from hornbeam.ledger import lost
from hornbeam.members import Seat, seats, surely_dead
from hornbeam.run.check import check_apart
from hornbeam.run.costs import paid, trainer_costs
from hornbeam.run.loading import Say, model_folders
from hornbeam.run.loop import STAGES, Run
from hornbeam.run.order import task_at, tree_seed
from hornbeam.run.policies import Policies, Voice, member
from hornbeam.run.recipe import Recipe, differences
from hornbeam.run.watch import Watch
from hornbeam.run.wire import Plan
from hornbeam.shared import SharedStore
from hornbeam.store import Stored, TreeKey
from hornbeam.tasks.base import Task
from hornbeam.train.ranks import Ranks
from hornbeam.tree import Tree

SAME = ("steps", "eval_every", "eval_start", "resume")  # what processes of one run agree on


class Apart(Policies):
    """One policy of a recipe in this process, the others by name and chat."""

    def __init__(
        self,
        recipe: Recipe,
        folders: dict[str, Path],
        name: str,
        clerk: Clerk,
        ranks: Ranks | None = None,
    ) -> None:
        from transformers import AutoTokenizer

        self.own = member(recipe, name, folders[name], {}, ranks=ranks)
        self.members = [self.own]
        self.away: dict[str, DeskEngine] = {}  # by agent
        self._tokenizers = {name: self.own.policy.tokenizer}
        for other in recipe.names:
            if other != name:
                part = recipe.of(other)
                self._tokenizers[other] = AutoTokenizer.from_pretrained(
                    folders[other], local_files_only=True
                )
                chat = TemplateChat(self._tokenizers[other], part.model.name)
                self.away |= dict.fromkeys(part.agents, DeskEngine(other, chat, clerk))

    def __len__(self) -> int:
        return len(self._tokenizers)

    def engine(self, agent: str) -> Engine:
        """What answers for an agent: the local engine, or the desk."""
        return self.away.get(agent) or self.own.engine

    @property
    def chats(self) -> dict[str, Chat]:
        """The chat of every agent."""
        return {**super().chats, **{agent: engine.chat for agent, engine in self.away.items()}}

    @property
    def tokenizers(self) -> dict[str, Any]:
        """The tokenizer of every policy by name, the own one first."""
        return self._tokenizers


class Trainer(Run):
    """The run of one policy, in the folder `path` / policy; final weights in `path` / final."""

    def __init__(
        self,
        recipe: Recipe,
        plan: Plan,
        path: Path,
        watch: Watch,
        policy: str,
        ranks: Ranks | None = None,
    ) -> None:
        check_apart(recipe, policy)
        self.path, self.name = path, policy
        store = SharedStore(recipe.run.store or path, watch.say)
        self.desk = Desk(store, policy)
        self.clerk = Clerk(self.desk, self._need)
        self.seat = Seat(store, policy, recipe.run.lease, watch.say)
        self.absent: set[str] = set()  # policies told to be missed
        self.told_to = 0  # steps of which rows are told
        try:
            self.seat.take()
            _agree(store, recipe, policy)
            (path / policy).mkdir(parents=True, exist_ok=True)

            def load(recipe: Recipe, folder: Path, say: Say, voice: Voice | None) -> Apart:
                folders = model_folders(recipe, folder, say)
                if ranks is not None:
                    ranks.share({policy: folders[policy]})
                return Apart(recipe, folders, policy, self.clerk, ranks)

            super().__init__(recipe, plan, path / policy, watch, store, load)
        except BaseException:
            self.seat.give_back()
            store.close()
            raise
        own = recipe.of(policy).loss
        if recipe.run.behind and own.weights is None:
            watch.warn(
                f"run.behind = {recipe.run.behind}: older weights may have spoken, and no loss"
                ' weighs that: set loss.old = "trainer" and loss.truncate or importance'
            )

    async def go(self) -> Path:
        """Run to the end; returns the path of the report."""
        steps = self.recipe.run.steps
        try:
            async with self._at_work():
                done = await self._begin()
                self.watch.begin(f"training {self.name}", steps, done)
                for step in range(done, steps):
                    await self._step(step)
                    if self._due(step + 1, self.recipe.run.eval_every) and step + 1 < steps:
                        await self._look("train", "eval", step + 1)
                self._checkpoint(steps)
                await self._look("final", "eval", steps)
                await self._tell_all(steps)
            self.policies.save(self.path / "final")
            self.folder.rewrite_metrics()
            return self.folder.report(self.policies.chats)
        finally:
            self.watch.end()
            await self.close()

    @asynccontextmanager
    async def _at_work(self) -> AsyncIterator[None]:
        """The clerk works for the length of a block; its errors end the block."""
        try:
            async with asyncio.TaskGroup() as group:
                clerk = group.create_task(self.clerk.work())
                yield
                clerk.cancel()
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def close(self) -> None:
        """Give back what is held."""
        try:
            await super().close()
        finally:
            self.seat.give_back()

    # --- growing with others -----------------------------------------------------------------

    def _need(self, stage: str, step: int) -> int:
        """From how many steps a policy must have learned to speak in trees of a step."""
        return step - self.recipe.run.behind if stage == "train" else _phase(stage, step)

    async def _grow_keys(
        self, grower: Grower, keys: Sequence[TreeKey], tasks: Sequence[Task]
    ) -> list[Tree]:
        """Trees by key, grown here or by others; this policy is served until all are grown."""
        chosen = dict(zip(keys, tasks))
        ahead = self._ahead(keys[0])
        apart, pause = self.policies, SOONEST
        assert isinstance(apart, Apart)
        async with self.clerk.serving(apart.own.engine, _phase(*keys[0][:2])):
            while left := self.desk.undone(keys):
                share = -(-len(left) // len(apart))
                mine = self.desk.claim(left, share)
                if not mine and ahead:
                    mine = self.desk.claim(self.desk.undone(list(ahead)), share)
                if mine:
                    await self._grow_mine(grower, {k: {**chosen, **ahead}[k] for k in mine})
                    pause = SOONEST
                else:
                    self._tell_absent()
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, LATEST)
        self.desk.clear(keys)  # what one killed between its last answer and `clear` left
        return [self.store.read(key).tree for key in keys]

    def _ahead(self, key: TreeKey) -> dict[TreeKey, Task]:
        """Trees of later steps that may grow already."""
        run, tasks = self.recipe.run, self.plan.train.tasks
        last = min(key.step + run.behind, run.steps - 1) if key.stage == "train" else -1
        return {
            TreeKey("train", step, number): task_at(tasks, run.seed, step * run.tasks + number)
            for step in range(key.step + 1, last + 1)
            for number in range(run.tasks)
        }

    async def _grow_mine(self, grower: Grower, mine: dict[TreeKey, Task]) -> None:
        """Grow claimed trees, one left half-grown on from there, or "exact" from its seeds."""
        starts: list[tuple[TreeKey, Tree | Stored]] = []
        for key, task in mine.items():
            start: Tree | Stored = Tree(task.to_json(), seed=tree_seed(self.recipe.run.seed, key))
            if key in self.store.keys(key.stage, key.step):
                if self.recipe.run.resume == "exact":
                    self.store.forget(*key)
                else:
                    start = self.store.read(key)
            starts.append((key, start))
        teller = asyncio.create_task(self._watch_absent())
        try:
            await grower.grow_all(starts, self.recipe.run.at_once)
        finally:
            teller.cancel()
        self.desk.clear(list(mine))

    async def _watch_absent(self) -> None:
        """While answers are waited for, say who is missed."""
        while True:
            await asyncio.sleep(self.recipe.run.lease / 4)
            if self.clerk.waits:
                self._tell_absent()

    def _tell_absent(self) -> None:
        """Say once which policy nobody trains, and that it is back."""
        while self.seat.fallen:
            self.watch.warn(self.seat.fallen.pop(0))
        for name in self.recipe.names if self.seat.owners else ():
            owner = self.seat.owners.get(name, "")
            if not owner and name not in self.absent:
                self.absent.add(name)
                self.watch.say(
                    f"Waiting for policy {name!r}: no process trains it (--policy {name})"
                )
            elif owner and name in self.absent:
                self.absent.discard(name)
                self.watch.say(f"Policy {name!r} is trained by {owner}")

    # --- steps -------------------------------------------------------------------------------

    def _redone(self, step: int) -> None:
        """Tell apart that a step was trained a second time; its row stays."""
        self.ledger.enter([lost(entry) for entry in trainer_costs(step, self.told)])

    def _trained(self) -> int:
        """How many steps this policy has learned from."""
        return len(self.desk.versions())

    def _learn(self, trees: Sequence[Tree], step: int) -> None:
        """Credit the trees and learn from the own nodes, whose age is measured."""
        super()._learn(trees, step)
        versions = self.desk.versions()[:step]
        own = next(iter(self.policies))
        ages = [
            step - sum(version <= node.origin.version for version in versions)
            for tree in trees
            for node in tree.nodes[1:]
            if own.speaks(node) and node.tokens
        ]
        mean, most = sum(ages) / max(1, len(ages)), float(max(ages, default=0))
        self.told |= {f"{self.name}/staleness": mean, f"{self.name}/staleness_most": most}

    def _metric(self, row: dict[str, Any]) -> None:
        """Keep a row; that of a step when all policies have learned from it."""
        if row["kind"] != "train":
            super()._metric(row)
            return
        self.desk.train(row["step"], next(iter(self.policies)).policy.version, row)
        self._tell_steps()

    def _tell_steps(self) -> None:
        """The rows of steps from which all policies have learned and of which none is told yet."""
        trained = {name: self.desk.trained(name, self.told_to) for name in self.recipe.names}
        told = self.desk.told(self.told_to)
        while all(self.told_to in each for each in trained.values()):
            if self.told_to not in told:
                rows = {name: each[self.told_to].row for name, each in trained.items()}
                super()._metric(self._joined(rows))
            self.told_to += 1

    async def _tell_all(self, steps: int) -> None:
        """Tell the last rows too: what another has learned may be kept a moment after it spoke."""
        for _ in range(100):
            self._tell_steps()
            if self.told_to >= steps:
                return
            await asyncio.sleep(0.1)

    def _joined(self, rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """One row of a step out of those of all policies, as a joint run writes it."""
        out = dict(rows[self.name])
        for name, row in rows.items():
            out |= {key: value for key, value in row.items() if key.startswith(f"{name}/")}
        own = [
            {key.removeprefix(f"{name}/"): row[key] for key in row if key.startswith(f"{name}/")}
            for name in self.recipe.names
            if self.recipe.policies[name].due(out["step"]) and (row := rows[name])
        ]
        told = [{k: v for k, v in each.items() if "staleness" not in k} for each in own]
        out |= self.policies.joined(told)
        out |= paid(self.store, STAGES, out["step"])
        return out | {
            k: max(r[k] for r in rows.values()) for k in ("seconds_grow", "seconds_train")
        }


def _phase(stage: str, step: int) -> int:
    """From how many steps policies have learned when the trees of a stage grow; -1 at the start."""
    return -1 if stage == "start" else step


def _agree(store: SharedStore, recipe: Recipe, policy: str) -> None:
    """`StoreError` where others train by another recipe."""
    rows = [row for row in seats(store) if row.owner and row.policy != policy]
    others = [row for row in rows if not surely_dead(row)]
    before, now = store.get("recipe"), recipe.model_dump(mode="json")
    if not others or before is None:
        return
    changed = differences(before, now)
    changed += [f"run.{key}" for key in SAME if before["run"].get(key) != now["run"][key]]
    if changed:
        raise StoreError(
            f"policy {others[0].policy!r} is trained by {others[0].owner} with another recipe"
            f" ({', '.join(changed[:3])} differ): set them alike"
        )
