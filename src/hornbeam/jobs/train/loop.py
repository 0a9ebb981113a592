"""The training loop, top to bottom: grow, score, credit, step, load, keep, evaluate, until done.

Resume. What was grown is in the store, what was learned in the checkpoints. A resumed run loads the
last checkpoint, trains the steps after it again on their stored trees (the same trees, hence the
same weights), and goes on with the step that was interrupted: its half-grown trees grow on
(`run.resume = "keep"`; `StoredGrowth` in growth.py), or it is grown again from its seeds ("exact").

Trees of a step and the evaluation before it are one phase where the recipe leaves that free.
Cached prefixes are dropped before every phase, so that which phases ran before it is not seen in
the last bits of what it samples.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from hornbeam.errors import BudgetSpent, HornbeamError
from hornbeam.jobs.train.parts import Parts
from hornbeam.tree.nodes import Tree


class TrainingLoop:
    """One training run out of its parts. `go` runs what is left of it."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    async def go(self) -> Path:
        """Train to the end, or until the budget is spent; returns the path of the report."""
        parts = self.parts
        async with parts.closing:
            async with parts.session():
                steps = await self._train()
                parts.checkpoints.save(steps)
                await parts.evaluator.evaluate("final", steps)
            parts.policies.save(parts.final)
            return parts.folder.report(parts.policies.chats)

    async def _train(self) -> int:
        """All steps that are left; how many are trained at the end."""
        parts, steps = self.parts, self.parts.run.steps
        done = await self._begin()
        parts.progress.begin(parts.name, steps, done)
        try:
            for step in range(done, steps):
                await self._step(step)
        except BudgetSpent as error:
            parts.progress.say(f"The budget is spent: {error}. Raise it and run again to go on.")
            return parts.metrics.trained
        return steps

    async def _step(self, step: int) -> None:
        """Grow and score trees, credit them and step on them, load the weights, keep the result."""
        parts = self.parts
        trees, seconds = await self._grow(step)  # grown, and scored where they end
        grown = time.perf_counter()
        update = await parts.learner.learn(trees, step)  # credited, and stepped on
        await parts.policies.load()  # by the engines
        trained = time.perf_counter()
        parts.recorder.record(step, trees, update, seconds, trained - grown)
        parts.checkpoints.save_when_due(step + 1)

    async def _grow(self, step: int) -> tuple[list[Tree], float]:
        """The trees of a step, and the seconds until they were there.

        The evaluation that is due before it goes on beside, by the same weights, and fills rows
        that the step's trees leave empty; it ends before the weights change.
        """
        parts = self.parts
        evaluation = asyncio.create_task(parts.evaluator.evaluate_before(step))
        if not parts.evaluator.beside:
            await evaluation
        began = time.perf_counter()
        parts.recorder.begin(step)
        try:
            trees = await parts.rollouts.trees(step)
        except BudgetSpent:
            await evaluation
            raise
        except HornbeamError:
            await asyncio.gather(evaluation, return_exceptions=True)
            raise
        except BaseException:
            evaluation.cancel()
            await asyncio.gather(evaluation, return_exceptions=True)
            raise
        seconds = time.perf_counter() - began
        await evaluation
        return trees, seconds

    # --- before the first step ---------------------------------------------------------------

    async def _begin(self) -> int:
        """Restore the last checkpoint, or do what comes before step 0; returns the steps done."""
        parts = self.parts
        done = parts.checkpoints.restore()
        await parts.policies.load()
        if done is None:
            await self._warm_start()
            return await self._train_again(0)
        parts.progress.say(f"Going on from the checkpoint after step {done}")
        return await self._train_again(done)

    async def _warm_start(self) -> None:
        """Evaluate the policies as they are, fit them to examples, hold them as references."""
        parts = self.parts
        warm = parts.warm_start.prepare()
        if parts.run.eval_start:
            await parts.evaluator.evaluate("start", 0)
        if warm:
            parts.warm_start.fit()
            await parts.policies.load()
            parts.policies.set_references()
            parts.checkpoints.save(0)

    async def _train_again(self, done: int) -> int:
        """Train the steps that a lost policy had trained already, on the trees that it had.

        Without such steps nothing is trained.
        """
        parts, trained = self.parts, self.parts.metrics.trained
        if trained > done:
            parts.progress.say(
                f"Training steps {done + 1} to {trained} again on their stored trees"
            )
        for step in range(done, trained):
            update = await parts.learner.learn(parts.recorder.trees(step), step)
            parts.recorder.record_again(step, update)
            parts.checkpoints.save_when_due(step + 1)
        await parts.policies.load()
        return trained
