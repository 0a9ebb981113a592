"""Searching the held-out tasks by several methods, and what that gave for what it cost.

Every method of the recipe grows trees under a guide and chooses an answer; a *point* is one setting
of it. Methods that only sample (`strategy = "independent"`) share one pool: it is grown once with
the most episodes that any of them wants, and each reads the first n of it, which are the very
episodes that it would have grown. Guides judge a pool afterwards, and each method pays for those it
reads.

Trees and costs are in the run folder's database: what was searched is not searched again, and
half-grown trees grow on. A tree stands under a stage named after its method and a digest of all
that its growth depends on, so a method that was changed is searched anew, and the others are not.

The gold answers are looked at for evaluation only: no strategy reads column "reward" here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hornbeam.assembly.guides import Guides
from hornbeam.assembly.plan import Plan
from hornbeam.assembly.progress import Progress
from hornbeam.assembly.tree_growth import FolderGrower
from hornbeam.engine.remote.remote_engine import served
from hornbeam.errors import RecipeError
from hornbeam.jobs.search.missing import (
    ENGINE_GIVES_NONE,
    LeftOut,
    all_give_logprobs,
    no_ids,
    reads_ids,
    reads_logprobs,
    why_unreadable,
)
from hornbeam.jobs.search.readout import search_table, write_result
from hornbeam.jobs.search.search_growth import SearchGrowth
from hornbeam.jobs.search.search_jobs import Job, as_begun, jobs, sized
from hornbeam.jobs.search.search_points import SearchPoints
from hornbeam.recipe.recipe import Recipe
from hornbeam.score.alike import Alike
from hornbeam.store.database import export


class Search:
    """All methods of a recipe over its held-out tasks, in a run folder."""

    def __init__(self, recipe: Recipe, plan: Plan, path: Path, progress: Progress) -> None:
        self.jobs = jobs(recipe)
        if not plan.eval.tasks:
            raise RecipeError("tasks.eval is empty: name a source, as in [[tasks.eval]]")
        self.recipe = recipe
        self.alike = Alike(recipe.reward)
        self.folder_grower = FolderGrower(recipe, plan, path, progress, "held-out")
        try:
            tokenizer = self.folder_grower.world.policies.tokenizer
            self.left_out = LeftOut(progress.say)
            if tokenizer is None:
                self.left_out.without(self.jobs, self._without_ids)
                self.jobs = self._kept(self.jobs)
            columns = [column for job in self.jobs for column in job.reads]
            self.guides = Guides(recipe, columns, tokenizer)
            stages = {key.stage for key in self.folder_grower.store.keys(None)}
            made = self._kept(jobs(recipe, self.guides.marks))
            self.jobs = [as_begun(job, stages, progress.say) for job in made]
            tasks = plan.eval.tasks
            self.growth = SearchGrowth(self.folder_grower, tasks, self.guides, self.alike)
            self.points = SearchPoints(self.folder_grower, self.growth, self.alike, recipe.search.k)
        except BaseException:
            self.folder_grower.store.close()
            raise

    async def go(self, command: str = "") -> tuple[dict[str, Any], Path]:
        """Search what was not searched yet; the result, and the path of its page."""
        try:
            await self._leave_out()
            await self.guides.open()
            pools = dict.fromkeys(job.stage for job in self.jobs if job.pooled)
            for stage in pools:
                await self.growth.pool(stage, [job for job in self.jobs if job.stage == stage])
            if pools:  # the largest, for choices that are compared later
                largest = max(pools, key=lambda stage: int(stage.rsplit(" ", 1)[1]))
                export(
                    self.folder_grower.store, self.folder_grower.folder.path / "pool.jsonl", largest
                )
            for job in self.jobs:
                if not job.pooled:
                    await self.growth.grow(job)
            self.jobs = self.left_out.without(self.jobs, self._why_unreadable)
            points = [(job.method.name, await self.points.read(job)) for job in self.jobs]
            result = search_table(self.recipe, points, command) | self.left_out.result
            result |= served([*self.folder_grower.world.policies.engines, *self.guides.engines])
            result |= self.folder_grower.redone(*dict.fromkeys(job.stage for job in self.jobs))
            return result, write_result(result, self.folder_grower.folder.path)
        finally:
            await self.guides.aclose()
            await self.alike.aclose()
            await self.folder_grower.aclose()

    # --- what cannot be ----------------------------------------------------------------------

    def _kept(self, made: Sequence[Job]) -> list[Job]:
        """The jobs that are not left out."""
        return sized([job for job in made if job.title not in self.left_out.reasons])

    def _without_ids(self, job: Job) -> str:
        """Why an engine without a tokenizer cannot be searched by this method, or ""."""
        column = reads_ids(self.recipe.guides, job.reads)
        return no_ids(column) if column else ""

    async def _leave_out(self) -> None:
        """Leave out, before anything is asked, what goes by log-probs that are not told."""
        guides = self.recipe.guides
        if not any(reads_logprobs(guides, j.strategy, j.choose, j.reads) for j in self.jobs):
            return
        await self.folder_grower.world.policies.load()

        def why(job: Job) -> str:
            if not reads_logprobs(guides, job.strategy, job.choose, job.reads):
                return ""
            agents = self.growth.grower(job.method, job.strategy, ()).agents.values()
            engines = [(speaker.engine, speaker.sampling) for speaker in agents]
            return "" if all_give_logprobs(engines) else ENGINE_GIVES_NONE

        self.left_out.without(self.jobs, why)
        self.jobs = self._kept(self.jobs)

    def _why_unreadable(self, job: Job) -> str:
        """Why a job's choice cannot be read off its trees, or ""."""
        if not job.choose.logprobs:
            return ""
        return why_unreadable(job.choose, list(self.folder_grower.trees(job.stage).values()))
