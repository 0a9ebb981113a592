"""The training loop, read top to bottom: grow, score, credit, pack, step, load, until done.

Resume. What was grown is in the store, what was learned in the checkpoints. A resumed run loads the
last checkpoint, trains the steps after it again on their stored trees (the same trees, hence the
same weights), and goes on with the step that was interrupted: its half-grown trees grow on
(`run.resume = "keep"`), or it is grown again from its seeds ("exact").

Cached prefixes are dropped before every phase, so that which phases ran before it is not seen in
the last bits of what it samples.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hornbeam.before import Before
from hornbeam.checkpoint import Checkpoints
from hornbeam.errors import BudgetSpent
from hornbeam.grow import Grower
from hornbeam.ledger import Entry, Ledger, lost, warning_of_state
from hornbeam.run.ahead import Ahead, check_ahead, drop_stale, staleness, warn_of_age
from hornbeam.run.anchored import STAGE, Anchored
from hornbeam.run.board import Board
from hornbeam.run.costs import paid, redone, spent, trainer_costs
from hornbeam.run.crediting import credit_step
from hornbeam.run.crew import pool_of
from hornbeam.run.engines import check_trains
from hornbeam.run.figures import GapWarning, grown_figures, measure, unmixed_warning
from hornbeam.run.files import needed_columns, trains_on_anchors
from hornbeam.run.folder import Folder
from hornbeam.run.guides import Guides
from hornbeam.run.loading import Load, bf16_is_slow, load_policies, model_folders
from hornbeam.run.mend import check_grown, failed_of, unscored, why
from hornbeam.run.order import task_at, tree_seed
from hornbeam.run.policies import Member
from hornbeam.run.recipe import Recipe
from hornbeam.run.stages import STAGE as MEASURED
from hornbeam.run.stages import Curriculum
from hornbeam.run.warm import warm_start
from hornbeam.run.watch import Watch, train_line
from hornbeam.run.wire import Plan
from hornbeam.run.world import World
from hornbeam.score.judge import open_judges
from hornbeam.search import Independent
from hornbeam.stats import between, named
from hornbeam.store import Store, Stored, TreeKey
from hornbeam.tasks.base import Task
from hornbeam.train.sft import Example
from hornbeam.tree import Tree

STAGES = ("train", STAGE, MEASURED)  # of the trees that a step pays for


class Run:
    """One training run in its folder. `go` runs what is left of it."""

    def __init__(
        self,
        recipe: Recipe,
        plan: Plan,
        path: Path,
        watch: Watch,
        store: Store | None = None,
        load: Load = load_policies,
    ) -> None:
        check_trains(recipe)
        check_ahead(recipe, apart=store is not None)
        self.recipe, self.plan, self.watch = recipe, plan, watch
        self.gap = GapWarning(watch.warn)
        self.folder = Folder(path, recipe, store)
        self.store, self.fleet = self.folder.store, None
        try:
            self.folder.hold_tasks("training", plan.train.tasks)
            self.folder.hold_tasks("held-out", plan.eval.tasks)
            self.shown = self.folder.hold_set(plan.shown, watch.say) if plan.shown else None
            self.checkpoints = Checkpoints(path / "checkpoints", recipe.run.keep)
            self.fleet = pool_of(recipe, plan.base, path / "model", watch.say, load)
            self.policies = (
                self.fleet.policies if self.fleet else load(recipe, path / "model", watch.say, None)
            )
            self.world = World.build(recipe, plan, self.policies)
            reads = needed_columns(recipe, plan.credit)
            guides = Guides(recipe, reads, self.policies.tokenizer if reads else None)
            self.judges = [guides[column] for column in guides.needed(reads)]
            self.anchors = None
            if trains_on_anchors(recipe):
                (base, *_) = model_folders(recipe, path / "model", watch.say).values()
                self.anchors = Anchored(recipe, plan, base, self.store)
        except BaseException:
            if self.fleet:
                self.fleet.close()
            self.store.close()
            raise
        if bf16_is_slow(recipe):
            watch.warn("this processor has no bfloat16: set optim.bf16 = false, it is far faster")
        run, stages, self.ahead = recipe.run, recipe.stages, None
        told = (stages, plan.train.tasks, self.store, self._metric)
        self.curriculum = Curriculum(*told) if stages else None
        if run.behind and store is None:
            warn_of_age(self.policies, run.behind, watch.warn)
            self.ahead = Ahead(self._grow, run.steps, run.behind)
        self.board = Board(path / "tensorboard") if recipe.run.tensorboard else None
        sink = warning_of_state(self.store.enter, plan.tools, watch.warn)
        self.ledger = Ledger(recipe.budget, spent(self.store, STAGES), sink=sink)
        self.grower = replace(self.world.grower(self.ledger, self.store), guides=self.judges)
        self.looker = self.world.grower(Ledger(sink=sink), self.store, greedy=True)
        if self.fleet:
            self.grower = self.fleet.growing(self.grower)
            self.looker = self.fleet.growing(self.looker)
        self.rows = {
            (r["kind"], str(r.get("stage", "")), r.get("step", -1)): r for r in self.store.metrics()
        }

    async def go(self) -> Path:
        """Run to the end, or until the budget is spent; returns the path of the report."""
        steps = self.recipe.run.steps
        try:
            await open_judges(self.judges)
            if self.anchors and ("anchor", "", -1) not in self.rows:
                self._tell(self.anchors)
            done = await self._begin()
            self.watch.begin("training", steps, done)
            try:
                for step in range(done, steps):
                    await self._step(step)
                    if self._due(step + 1, self.recipe.run.eval_every) and step + 1 < steps:
                        await self._look("train", "eval", step + 1)
            except BudgetSpent as error:
                self.watch.say(f"The budget is spent: {error}. Raise it and run again to go on.")
                steps = self._trained()
            self._checkpoint(steps)
            await self._look("final", "eval", steps)
            self.policies.save(self.folder.path / "final")
            return self.folder.report(self.policies.chats)
        finally:
            self.watch.end()
            if self.ahead:
                await self.ahead.aclose()
            await self.close()

    async def close(self) -> None:
        """Give back what is held."""
        if self.board:
            self.board.close()
        for judge in self.judges:
            await judge.aclose()
        await self.world.aclose()
        if self.fleet:
            self.fleet.close()
        self.store.close()

    # --- before the first step ---------------------------------------------------------------

    async def _begin(self) -> int:
        """Restore the last checkpoint, or do what comes before step 0; returns the steps done."""
        found = self.checkpoints.latest()
        if found is not None:
            self.policies.load_states(found.path)
            await self.policies.load()
            self.watch.say(f"Going on from the checkpoint after step {found.step}")
            return await self._again(found.step)
        await self.policies.load()
        warm = warm_start(self.recipe, self.plan, self.shown, self.policies)
        if self.recipe.run.eval_start:
            await self._look("start", "start", 0)
        if warm is not None:
            self.watch.say(warm.told)
            for member, given in warm.given:
                self._show(member, given)
            await self.policies.load()
            self.policies.set_references()
            self._checkpoint(0)
        return await self._again(0)

    async def _again(self, done: int) -> int:
        """Train the steps that a lost policy had trained already, on the trees that it had."""
        trained = self._trained()
        if trained > done:
            self.watch.say(f"Training steps {done + 1} to {trained} again on their stored trees")
        for step in range(done, trained):
            trees = [self.store.read(key).tree for key in self.store.keys("train", step)]
            self._learn(trees, step)
            self._redone(step)
            if self._due(step + 1, self.recipe.run.checkpoint_every):
                self._checkpoint(step + 1)
        await self.policies.load()
        if self.recipe.sft is not None and not trained and self.recipe.run.steps:
            await self._look("warm start", "warm start", 0)  # without steps the last look says it
        if 0 < trained < self.recipe.run.steps and self._due(trained, self.recipe.run.eval_every):
            await self._look("train", "eval", trained)
        return trained

    def _redone(self, step: int) -> None:
        """Tell apart that a step was trained a second time."""
        tokens = redone(self.store, STAGES, step).get("redone_tokens", 0)
        tokens += self.told["tokens_unique"]
        self.ledger.enter([lost(entry) for entry in trainer_costs(step, self.told)])
        self._metric(self.rows["train", "", step] | {"redone_tokens": tokens})

    def _trained(self) -> int:
        """How many steps have been trained."""
        return sum(kind == "train" for kind, _, _ in self.rows)

    def _show(self, member: Member, given: Sequence[Example]) -> None:
        """The supervised stage of one policy, on what its agents are shown to say."""
        stage = self.recipe.sft
        assert stage is not None
        total = -(-len(given) // stage.batch_size) * stage.epochs
        name, losses = f"warm start {member.name}".strip(), list[float]()
        self.watch.begin(name, total)
        for number, told in enumerate(member.policy.fit(given, stage)):
            costs = trainer_costs(-1, told)
            again = ("sft", member.name, number) in self.rows
            self.ledger.enter([lost(entry) for entry in costs] if again else costs)
            row = {"kind": "sft", **({"stage": member.name} if member.name else {})}
            self._metric({**row, "step": number, "seconds": self.ledger.seconds, **told})
            self.watch.step(number + 1, f"loss {told['loss']:.3f}")
            losses.append(told["loss"])
        self.watch.end()
        if losses:
            self.watch.say(
                f"{name}: {len(losses)} updates, loss {losses[0]:.3f} to {losses[-1]:.3f}"
            )

    # --- a step ------------------------------------------------------------------------------

    async def _step(self, step: int) -> None:
        """Grow, credit, train, load; keep what came of it."""
        began = time.perf_counter()
        if self.ahead:
            trees = await self.ahead.trees(step)
            grown = time.perf_counter()
            await asyncio.to_thread(self._learn, trees, step)
        else:
            trees = await self._grow(step)
            grown = time.perf_counter()
            self._learn(trees, step)
        await self.policies.load()
        trained = time.perf_counter() - grown
        costs = paid(self.store, STAGES, step)
        self.ledger.enter(trainer_costs(step, self.told))  # from here on all in one go
        for number, tree in enumerate(trees):
            self.store.columns(TreeKey("train", step, number), tree.columns)
        if self.anchors:
            self.anchors.learned(step, trees)
        idle = self.ahead.take() if self.ahead else (trained, grown - began)
        row = self._row(step, trees, costs, grown - began, trained)
        row |= dict(
            zip(("seconds_engine_idle", "seconds_trainer_idle"), (round(s, 3) for s in idle))
        )
        self._metric(row)
        self.watch.step(step + 1, *train_line(row, self.recipe.run.steps))
        if self._due(step + 1, self.recipe.run.checkpoint_every):
            self._checkpoint(step + 1)

    async def _grow(self, step: int) -> list[Tree]:
        """The trees of a step: those that are grown already, and the rest grown now."""
        run, tasks, begin = self.recipe.run, self.plan.train.tasks, 0
        keys = [TreeKey("train", step, number) for number in range(run.tasks)]
        if self.curriculum:
            begin, tasks = await self.curriculum.tasks(step, self._runs)
        if self.anchors:
            chosen = await self.anchors.coming(step, self._runs)
        else:
            first = (step - begin) * run.tasks
            chosen = [task_at(tasks, run.seed, first + key.number) for key in keys]
        return await self._grow_keys(self.grower, keys, chosen)

    def _tell(self, anchors: Anchored) -> None:
        """Count once what the anchors cost that this run builds on."""
        row = {"kind": "anchor", "tasks": len(anchors.tasks), **anchors.row}
        self.ledger.enter([Entry("", -1, -1, "anchor_tokens", row["anchor_tokens"])])
        self._metric(row)
        self.watch.say(
            f"Anchors: {row['tasks']} tasks are kept ({row['mixed']} mixed, {row['taught']} by the"
            f" teacher), {row['solved']} solved ones dropped; {row['anchor_tokens']:,.0f} tokens"
        )

    async def _runs(self, keys: list[TreeKey], tasks: list[Task], rollouts: int) -> list[Tree]:
        """Independent runs of the present policy, by which tasks are measured."""
        how = replace(self.grower, strategy=Independent(n=rollouts), guides=())
        grown = await self._grow_keys(how, keys, tasks)
        await self.policies.load()
        return grown

    async def _grow_keys(
        self, grower: Grower, keys: Sequence[TreeKey], tasks: Sequence[Task]
    ) -> list[Tree]:
        """Trees by key: read where they are grown, grown on where half-grown, else begun."""
        run = self.recipe.run
        stored = {key: self.store.read(key) for key in self.store.keys(keys[0].stage, keys[0].step)}
        if run.resume == "exact" and not all(key in stored and stored[key].done for key in keys):
            self.store.forget(keys[0].stage, keys[0].step)
            stored = {}
        trees = {key: left.tree for key, left in stored.items() if left.done}
        starts: list[tuple[TreeKey, Tree | Stored]] = []
        for key, task in zip(keys, tasks):
            if key not in trees:
                fresh = Tree(task.to_json(), seed=tree_seed(run.seed, key))
                if self.anchors and key.stage == "train":
                    fresh = self.anchors.start(fresh)
                starts.append((key, stored.get(key, fresh)))
        if stored and starts and not run.behind:
            entries = self.store.entries(*keys[0][:2])
            grower = replace(grower, before=Before.of(stored, entries))
        grown = await grower.grow_all(starts, run.at_once)
        trees.update({key: tree for (key, _), tree in zip(starts, grown)})
        self.store.flush()
        out = [trees[key] for key in keys]
        begun = not starts or any(kind in ("eval", "train") for kind, _, _ in self.rows)
        check_grown(self.store, keys, out, begun)
        return out

    def _learn(self, trees: Sequence[Tree], step: int) -> None:
        """Credit the trees and step on those that have a scored leaf."""
        aged: dict[str, float] = {}
        if self.recipe.run.behind:
            stale = drop_stale(trees, self.policies, self.recipe.run.behind)
            aged = {"stale": stale, "age": staleness(trees, self.policies)}
        scored = [tree for tree in trees if any(v is not None for v in tree.columns["reward"])]
        if not scored:
            raise unscored(trees)
        credit_step(scored, self.recipe.reward, self.plan.credit)
        self.told = {**self.policies.step(scored, step), **aged}
        self.gap.look(self.told, step)

    def _row(
        self, step: int, trees: Sequence[Tree], costs: dict[str, float], grow: float, train: float
    ) -> dict[str, Any]:
        """The metrics of a step; `costs` are those of its trees, whoever grew them."""
        self.ledger.take()
        figures = grown_figures(trees, self.recipe.reward.delegation, self.plan.credit.parts)
        if not figures["mixed_groups"] and not self.plan.credit.anchored:
            self.watch.warn(f"step {step + 1}: {unmixed_warning(figures)}")
        return {
            "kind": "train",
            "step": step,
            "seconds": round(self.ledger.seconds, 3),
            **figures,
            **self.told,
            **costs,
            "seconds_grow": round(grow, 3),
            "seconds_train": round(train, 3),
        }

    # --- evaluation, keeping -----------------------------------------------------------------

    async def _look(self, stage: str, trees: str, step: int) -> None:
        """Evaluate on the held-out tasks, greedily, once a stage and step."""
        tasks = self.plan.eval.tasks
        if not tasks or ("eval", stage, step) in self.rows:
            return
        await self.policies.load()
        keys = [TreeKey(trees, step, number) for number in range(len(tasks))]
        looker = self.looker
        if stage != "train" and isinstance(looker, Grower):  # later the bar is that of training
            ended = self.watch.count("evaluation", len(tasks))
            looker = replace(looker, ended=ended)
        grown = await self._grow_keys(looker, keys, tasks)
        if stage != "train":
            self.watch.end()
        await self.policies.load()
        told = measure(grown, self.recipe.reward.delegation)
        told |= why(grown) | redone(self.store, (trees,), step)
        row = {"kind": "eval", "stage": stage, "step": step, **told}
        self._metric({**row, "seconds": round(self.ledger.seconds, 3)})
        after = {"start": "before training", "warm start": "after the warm start"}
        when = after.get(stage, f"after {step} steps")
        name, value = named(row)
        fell = f"; {failed_of(row)}" * bool(row["failed"])
        self.watch.say(
            f"Held-out {name} {when}: {value}{between(row)} of {row['count']}{fell}", "bold"
        )
        self.folder.report(self.policies.chats)

    def _checkpoint(self, step: int) -> None:
        found = self.checkpoints.latest()
        if found is None or found.step < step:
            told = {"step": step, "version": self.policies.versions}
            self.checkpoints.write(step, self.policies.save_states, told)

    def _metric(self, row: dict[str, Any]) -> None:
        where = (row["kind"], str(row.get("stage", "")), row.get("step", -1))
        self.folder.metric(row, again := where in self.rows)
        self.rows[where] = row
        if self.board and not again:
            self.board.add(row)

    def _due(self, step: int, every: int) -> bool:
        return bool(every) and step % every == 0
