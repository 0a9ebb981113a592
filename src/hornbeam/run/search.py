"""Searching the held-out tasks by several methods, and what that gave for what it cost.

Every method of the recipe grows trees under a guide and chooses an answer; a *point* is one setting
of it. Methods that only sample (`strategy = "independent"`) share one pool: it is grown once with
the most episodes that any of them wants, and each reads the first n of it, which are the very
episodes that it would have grown. Guides judge a pool afterwards, and each method pays for those it
reads.

Trees and costs are in the run folder's database: what was searched is not searched again, and
half-grown trees grow on. A tree stands under a stage named after its method and a digest of all
that its growth hangs on, so a method that was changed is searched anew, and the others are not.

The gold answers are looked at for evaluation only: no strategy reads column "reward" here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hornbeam.effects import Speaker
from hornbeam.engine.server import served
from hornbeam.errors import RecipeError
from hornbeam.grow import Grower
from hornbeam.ledger import NO_BUDGET, Entry, Ledger
from hornbeam.run.choices import MethodChoice, keys_of
from hornbeam.run.forest import Forest
from hornbeam.run.guides import Guides
from hornbeam.run.lacking import (
    ENGINE_TELLS_NONE,
    LeftOut,
    all_tell,
    no_ids,
    reads_ids,
    reads_logprobs,
    untold_of,
)
from hornbeam.run.pool import fresh_prompts, judge_tree, share_prompts
from hornbeam.run.readout import (
    Costs,
    Point,
    read_point,
    search_table,
    until,
    write_result,
)
from hornbeam.run.recipe import Recipe
from hornbeam.run.watch import Watch
from hornbeam.run.wire import Plan
from hornbeam.score.alike import Alike, AlikeGuide
from hornbeam.score.base import Guide
from hornbeam.search import Independent, Strategy, Vote, restore, strategy
from hornbeam.search.choose import Chooser, Same, chooser
from hornbeam.settings import digest
from hornbeam.store import TreeKey, export
from hornbeam.tree import Tree

POOL = "pool"  # prefix of the stages of pools
OWN = {"kept", "q", "visits"}  # columns that strategies make
NO_MARKS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Job:
    """One point of one method: what grows its trees, and where they stand."""

    method: MethodChoice
    label: str
    strategy: Strategy
    choose: Chooser
    reads: tuple[str, ...]  # columns of guides
    stage: str
    before: str = ""  # its stage where its strategy's settings meant something else before

    @property
    def title(self) -> str:
        """What it is called before a person."""
        return f"{self.method.name} {self.label}".strip()

    @property
    def pooled(self) -> bool:
        """Whether it reads a part of a pool."""
        return self.stage.startswith(POOL)

    @property
    def pool(self) -> str:
        """The stage of its pool without the number of episodes."""
        return " ".join(self.stage.split(" ")[:2])


def jobs(recipe: Recipe, marks: Mapping[str, str] = NO_MARKS) -> list[Job]:
    """All points of all methods, checked. Raises `RecipeError` naming the method.

    `marks` tell one guide's model from another at the same place.
    """
    if not recipe.search.methods:
        raise RecipeError("search.methods is empty: name one, as in [[search.methods]]")
    out = []
    for method in recipe.search.methods:
        for label, settings in method.points():
            try:
                with keys_of(method):
                    out.append(_job(recipe, method, label, settings, marks))
            except RecipeError as error:
                raise RecipeError(f"search method {method.name!r}: {error}") from error
    return sized(out)


def sized(made: Sequence[Job]) -> list[Job]:
    """The jobs with the most episodes of each pool in its stage's name."""
    most: dict[str, int] = {}
    for job in made:
        most[job.pool] = max(most.get(job.pool, 0), job.strategy.leaves())
    return [replace(j, stage=f"{j.pool} {most[j.pool]}") if j.pooled else j for j in made]


def _job(
    recipe: Recipe,
    method: MethodChoice,
    label: str,
    settings: dict[str, Any],
    marks: Mapping[str, str],
) -> Job:
    how = strategy(method.strategy, **settings)
    choose = chooser(method.choose)
    if "reward" in how.reads:
        raise RecipeError("it would steer by the gold answers, which a search may not see")
    for column in OWN.intersection(choose.reads).difference(how.makes):
        raise RecipeError(
            f"choice {method.choose!r} reads column {column!r}, which strategy"
            f" {method.strategy!r} does not make"
        )
    wanted = [*how.reads, *choose.reads, *method.guides]
    reads = tuple(dict.fromkeys(column for column in wanted if column not in OWN))
    for column in reads:
        if column not in recipe.guides:
            raise RecipeError(
                f"it reads column {column!r}, which no guide writes: add a table"
                f" [guides.{column}] that says which model does"
            )
    sampling: list[Any] = [method.greedy, method.temperature]
    if isinstance(how, Independent) and method.budget == NO_BUDGET:
        stage = f"{POOL} {digest(sampling)}"
    else:
        judged = [[c, recipe.guides[c].model_dump(), marks.get(c, "")] for c in reads]
        budget = method.budget.model_dump()
        stage, before = (
            f"{method.name} {digest([*sampling, method.strategy, each, budget, judged])}"
            for each in (how.identity(), how.before().identity())
        )
        return Job(method, label, how, choose, reads, stage, before if before != stage else "")
    return Job(method, label, how, choose, reads, stage)


def as_begun(job: Job, stages: Collection[str], say: Callable[[str], None]) -> Job:
    """The job as its trees in this folder were begun, where its settings meant another thing then.

    So what was grown is not grown again, and all trees of a point are grown alike; it is said.
    """
    if not job.before or job.before not in stages or job.stage in stages:
        return job
    then, now = job.strategy.before(), job.strategy
    kept = [key for key in now.later if getattr(then, key) != getattr(now, key)]
    was, new = (", ".join(f'{k} = "{getattr(how, k)}"' for k in kept) for how in (then, now))
    say(
        f"search method {job.method.name!r}: its trees here were begun with {was}, the only"
        f" way then, and go on so; say {new} in the recipe to search anew"
    )
    return replace(job, strategy=then, stage=job.before)


class Search:
    """All methods of a recipe over its held-out tasks, in a run folder."""

    def __init__(self, recipe: Recipe, plan: Plan, path: Path, watch: Watch) -> None:
        self.jobs = jobs(recipe)
        if not plan.eval.tasks:
            raise RecipeError("tasks.eval is empty: name a source, as in [[tasks.eval]]")
        self.recipe, self.tasks, self.watch = recipe, plan.eval.tasks, watch
        self.fresh: dict[str, dict[TreeKey, dict[int, int]]] = {}  # of pools
        self.sames: dict[str, list[Same]] = {}  # of stages: which answers of a tree are equal
        self.alike = Alike(recipe.reward)
        self.forest = Forest(recipe, plan, path, watch, "held-out")
        try:
            tokenizer = self.forest.world.policies.tokenizer
            self.left_out = LeftOut(watch.say)
            if tokenizer is None:
                self.left_out.without(self.jobs, self._without_ids)
                self.jobs = self._kept(self.jobs)
            columns = [column for job in self.jobs for column in job.reads]
            self.guides = Guides(recipe, columns, tokenizer)
            stages = {key.stage for key in self.forest.store.keys(None)}
            made = self._kept(jobs(recipe, self.guides.marks))
            self.jobs = [as_begun(job, stages, watch.say) for job in made]
        except BaseException:
            self.forest.store.close()
            raise

    async def go(self, command: str = "") -> tuple[dict[str, Any], Path]:
        """Search what was not searched yet; the result, and the path of its page."""
        try:
            await self._leave_out()
            await self.guides.open()
            pools = dict.fromkeys(job.stage for job in self.jobs if job.pooled)
            for stage in pools:
                await self._pool(stage, [job for job in self.jobs if job.stage == stage])
            if pools:  # the largest, for choices that are compared later
                largest = max(pools, key=lambda stage: int(stage.rsplit(" ", 1)[1]))
                export(self.forest.store, self.forest.folder.path / "pool.jsonl", largest)
            for job in self.jobs:
                if not job.pooled:
                    await self._grow(job)
            self.jobs = self.left_out.without(self.jobs, self._untold)
            points = [(job.method.name, await self._point(job)) for job in self.jobs]
            result = search_table(self.recipe, points, command) | self.left_out.result
            result |= served([*self.forest.world.policies.engines, *self.guides.engines])
            result |= self.forest.redone(*dict.fromkeys(job.stage for job in self.jobs))
            return result, write_result(result, self.forest.folder.path)
        finally:
            await self.guides.aclose()
            await self.alike.aclose()
            await self.forest.aclose()

    # --- what cannot be ----------------------------------------------------------------------

    def _kept(self, made: Sequence[Job]) -> list[Job]:
        """The jobs that are not left out."""
        return sized([job for job in made if job.title not in self.left_out.told])

    def _without_ids(self, job: Job) -> str:
        """Why an engine without a tokenizer cannot be searched by this method, or ""."""
        column = reads_ids(self.recipe.guides, job.reads)
        return no_ids(column) if column else ""

    async def _leave_out(self) -> None:
        """Leave out, before anything is asked, what goes by log-probs that are not told."""
        guides = self.recipe.guides
        if not any(reads_logprobs(guides, j.strategy, j.choose, j.reads) for j in self.jobs):
            return
        await self.forest.world.policies.load()

        def why(job: Job) -> str:
            if not reads_logprobs(guides, job.strategy, job.choose, job.reads):
                return ""
            agents = self._grower(job.method, job.strategy, ()).agents.values()
            voices = [(speaker.engine, speaker.sampling) for speaker in agents]
            return "" if all_tell(voices) else ENGINE_TELLS_NONE

        self.left_out.without(self.jobs, why)
        self.jobs = self._kept(self.jobs)

    def _untold(self, job: Job) -> str:
        """Why a job's choice cannot be read off its trees, or ""."""
        if not job.choose.logprobs:
            return ""
        return untold_of(job.choose, list(self.forest.trees(job.stage).values()))

    # --- growing -----------------------------------------------------------------------------

    def _grower(self, method: MethodChoice, how: Strategy, columns: Sequence[str]) -> Grower:
        """A grower of this strategy under these guides; under a budget, an answer at a time."""
        grower = self.forest.world.grower(
            Ledger(), self.forest.store, greedy=method.greedy, trained=False
        )
        agents = {name: _at(speaker, method) for name, speaker in grower.agents.items()}
        guides: list[Guide] = [self.guides[column] for column in columns]
        if isinstance(how, Vote):
            guides.append(AlikeGuide(self.alike))
        one_by_one = None if method.budget == NO_BUDGET else 1
        return replace(grower, agents=agents, strategy=how, guides=guides, episodes=one_by_one)

    async def _grow(self, job: Job) -> None:
        await self.forest.grow(
            f"{job.method.name} {job.label}".strip(),
            job.stage,
            self.tasks,
            lambda: self._grower(job.method, job.strategy, self.guides.needed(job.reads)),
            job.method.budget,
        )

    async def _pool(self, stage: str, readers: Sequence[Job]) -> None:
        """Sample a pool with the most episodes that a reader wants, and judge it."""
        most = max(job.strategy.leaves() for job in readers)
        names = ", ".join(dict.fromkeys(job.method.name for job in readers))
        await self.forest.grow(
            f"{most} samples a task ({names})",
            stage,
            self.tasks,
            lambda: self._grower(readers[0].method, Independent(n=most), ()),
            NO_BUDGET,
        )
        reads = dict.fromkeys(column for job in readers for column in job.reads)
        for column in self.guides.needed(tuple(reads)):
            await self._judge(stage, column)

    async def _judge(self, stage: str, column: str) -> None:
        """A guide's opinions of a pool, episode by episode, so that each knows what it cost."""
        store, guide, at_once = self.forest.store, self.guides[column], self.recipe.run.at_once
        kind = self._paid(column)
        judged = {entry.tree for entry in store.entries(stage) if entry.kind == kind}
        trees = self.forest.trees(stage).items()
        left = {key: tree for key, tree in trees if str(key) not in judged}
        if not left:
            return

        async def judge(key: TreeKey, tree: Tree) -> None:
            for episode, tokens in (await judge_tree(guide, tree)).items():
                store.enter([Entry(str(key), episode, -1, kind, tokens)])
            store.columns(key, tree.columns)

        began = time.perf_counter()
        self.watch.begin(f"judging by {column}", len(left))
        items = list(left.items())
        for first in range(0, len(items), at_once):
            await asyncio.gather(*(judge(*item) for item in items[first : first + at_once]))
            self.watch.step(min(first + at_once, len(items)), "")
        self.watch.end()
        self.forest.add_seconds(f"{stage}/{kind}", time.perf_counter() - began)

    def _paid(self, column: str) -> str:
        """Under which kind a pool enters what a guide cost; another model is another guide."""
        choice, mark = self.recipe.guides[column].model_dump(), self.guides.marks.get(column, "")
        return f"scorer_tokens {column} {digest([choice, mark])}"

    # --- reading -----------------------------------------------------------------------------

    async def _point(self, job: Job) -> Point:
        """What a job's trees say, and what they cost."""
        found, costs = self.forest.trees(job.stage), self.forest.costs(job.stage)
        if job.stage not in self.sames:
            self.sames[job.stage] = await self.alike.of_trees(found.values())
        seconds = self.forest.seconds(job.stage)
        trees, how = list(found.values()), job.strategy
        if job.pooled:
            most, n = max(len(tree.leaves()) for tree in trees), how.leaves()
            reads = [self._paid(column) for column in self.guides.needed(job.reads)]
            seconds += sum(self.forest.seconds(f"{job.stage}/{kind}") for kind in reads)
            seconds *= min(1.0, n / most)  # its share of the pool's
            trees = [until(tree, n - 1) for tree in trees]
            for key, fresh in self._fresh_of(job.stage, found).items():
                entries = share_prompts(costs[str(key)], fresh)
                costs[str(key)] = [e for e in entries if e.episode < n and _mine(e, reads)]
        return read_point(
            job.label,
            trees,
            job.choose,
            [Costs.of(costs[str(key)]) for key in found],
            seconds / len(trees),
            prepare=partial(_with_columns, how),
            sames=self.sames[job.stage],
            k=self.recipe.search.k,
            spent=sum(bool(how.ask(tree, restore(tree, how.steps))) for tree in trees),
        )

    def _fresh_of(
        self, stage: str, trees: Mapping[TreeKey, Tree]
    ) -> Mapping[TreeKey, Mapping[int, int]]:
        """Fresh prompt tokens of a pool's episodes, counted once."""
        if stage not in self.fresh:
            self.fresh[stage] = {key: fresh_prompts(tree) for key, tree in trees.items()}
        return self.fresh[stage]


def _with_columns(how: Strategy, tree: Tree) -> Tree:
    """The tree with the columns that its strategy makes of it."""
    tree.columns.update(how.columns(tree))
    return tree


def _at(speaker: Speaker, method: MethodChoice) -> Speaker:
    """A speaker as this method lets it sample."""
    temperature = method.temperature or speaker.sampling.temperature
    return replace(speaker, sampling=replace(speaker.sampling, temperature=temperature))


def _mine(entry: Entry, reads: Iterable[str]) -> bool:
    """Whether a method pays for an entry of a pool: not for guides that it does not read."""
    return not entry.kind.startswith("scorer_tokens") or entry.kind in reads
