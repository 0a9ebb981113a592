"""Growing what a search reads: the trees of each method, and pools that several methods share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

from hornbeam.assembly.guides import Guides
from hornbeam.assembly.tree_growth import FolderGrower, StoreGrower
from hornbeam.grow.effects import Speaker
from hornbeam.grow.grower import Grower
from hornbeam.jobs.search.answer_pool import judge_tree
from hornbeam.jobs.search.search_jobs import Job
from hornbeam.protocols import Guide
from hornbeam.recipe.sections import MethodSection
from hornbeam.score.alike import Alike, AlikeGuide
from hornbeam.search import Independent, Strategy, Vote
from hornbeam.settings import digest
from hornbeam.store.database import TreeKey
from hornbeam.store.ledger import NO_BUDGET, Entry, Ledger
from hornbeam.tree.nodes import Tree
from hornbeam.tree.task import Task


class SearchGrowth:
    """Grows the trees of jobs over tasks into a run folder, once each."""

    def __init__(
        self, folder_grower: FolderGrower, tasks: Sequence[Task], guides: Guides, alike: Alike
    ) -> None:
        self.folder_grower, self.tasks, self.guides, self.alike = (
            folder_grower,
            tasks,
            guides,
            alike,
        )
        self.recipe, self.progress = folder_grower.recipe, folder_grower.progress

    def grower(self, method: MethodSection, how: Strategy, columns: Sequence[str]) -> Grower:
        """A grower of this strategy under these guides; under a budget, an answer at a time."""
        guides: list[Guide] = [self.guides[column] for column in columns]
        if isinstance(how, Vote):
            guides.append(AlikeGuide(self.alike))
        return search_grower(self.folder_grower, method, how, guides)

    async def grow(self, job: Job) -> None:
        """The trees of a job that has its own, those that are not grown yet."""
        await self.folder_grower.grow(
            f"{job.method.name} {job.label}".strip(),
            job.stage,
            self.tasks,
            lambda: self.grower(job.method, job.strategy, self.guides.needed(job.reads)),
            job.method.budget,
        )

    async def pool(self, stage: str, readers: Sequence[Job]) -> None:
        """Sample a pool with the most episodes that a reader wants, and judge it."""
        most = max(job.strategy.leaves() for job in readers)
        names = ", ".join(dict.fromkeys(job.method.name for job in readers))
        await self.folder_grower.grow(
            f"{most} {'sample' if most == 1 else 'samples'} a task ({names})",
            stage,
            self.tasks,
            lambda: self.grower(readers[0].method, Independent(n=most), ()),
            NO_BUDGET,
        )
        reads = dict.fromkeys(column for job in readers for column in job.reads)
        for column in self.guides.needed(tuple(reads)):
            await self._judge(stage, column)

    async def _judge(self, stage: str, column: str) -> None:
        """A guide's opinions of a pool, episode by episode, so that each knows what it cost."""
        store, guide, at_once = (
            self.folder_grower.store,
            self.guides[column],
            self.recipe.run.at_once,
        )
        kind = self.paid_kind(column)
        judged = {entry.tree for entry in store.entries(stage) if entry.kind == kind}
        trees = self.folder_grower.trees(stage).items()
        left = {key: tree for key, tree in trees if str(key) not in judged}
        if not left:
            return

        async def judge(key: TreeKey, tree: Tree) -> None:
            for episode, tokens in (await judge_tree(guide, tree)).items():
                store.enter([Entry(str(key), episode, -1, kind, tokens)])
            store.columns(key, tree.columns)

        began = time.perf_counter()
        self.progress.begin(f"judging by {column}", len(left))
        items = list(left.items())
        for first in range(0, len(items), at_once):
            await asyncio.gather(*(judge(*item) for item in items[first : first + at_once]))
            self.progress.step(min(first + at_once, len(items)), "")
        self.progress.end()
        self.folder_grower.add_seconds(f"{stage}/{kind}", time.perf_counter() - began)

    def paid_kind(self, column: str) -> str:
        """Under which kind a pool enters what a guide cost; another model is another guide."""
        choice, mark = self.recipe.guides[column].model_dump(), self.guides.marks.get(column, "")
        return f"scorer_tokens {column} {digest([choice, mark])}"


def search_grower(
    grower: StoreGrower, method: MethodSection, how: Strategy, guides: Sequence[Guide]
) -> Grower:
    """What grows the trees of a method by this strategy; under a budget, an answer at a time."""
    made = grower.world.grower(Ledger(), grower.store, greedy=method.greedy, trained=False)
    agents = {name: _at(speaker, method) for name, speaker in made.agents.items()}
    one_by_one = None if method.budget == NO_BUDGET else 1
    return replace(made, agents=agents, strategy=how, guides=guides, episodes=one_by_one)


def _at(speaker: Speaker, method: MethodSection) -> Speaker:
    """A speaker as this method lets it sample."""
    temperature = method.temperature or speaker.sampling.temperature
    return replace(speaker, sampling=replace(speaker.sampling, temperature=temperature))
