"""Reading the points of a search off its trees: what each method chose, and what that cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

from hornbeam.assembly.tree_growth import FolderGrower
from hornbeam.jobs.search.answer_pool import fresh_prompts, share_prompts
from hornbeam.jobs.search.readout import Costs, Point, read_point, until
from hornbeam.jobs.search.search_growth import SearchGrowth
from hornbeam.jobs.search.search_jobs import Job
from hornbeam.score.alike import Alike
from hornbeam.search import Strategy, restore
from hornbeam.search.choose import Same
from hornbeam.store.database import TreeKey
from hornbeam.store.ledger import Entry
from hornbeam.tree.nodes import Tree


class SearchPoints:
    """Reads points; what several of a pool share is made once. `k` as in `read_point`."""

    def __init__(
        self, folder_grower: FolderGrower, growth: SearchGrowth, alike: Alike, k: int
    ) -> None:
        self.folder_grower, self.growth, self.alike, self.k = folder_grower, growth, alike, k
        self.fresh: dict[str, dict[TreeKey, dict[int, int]]] = {}  # of pools
        self.sames: dict[str, list[Same]] = {}  # of stages: which answers of a tree are equal

    async def read(self, job: Job) -> Point:
        """What a job's trees say, and what they cost."""
        found, costs = self.folder_grower.trees(job.stage), self.folder_grower.costs(job.stage)
        if job.stage not in self.sames:
            self.sames[job.stage] = await self.alike.of_trees(found.values())
        seconds = self.folder_grower.seconds(job.stage)
        trees, how = list(found.values()), job.strategy
        if job.pooled:
            most, n = max(len(tree.leaves()) for tree in trees), how.leaves()
            columns = self.growth.guides.needed(job.reads)
            reads = [self.growth.paid_kind(column) for column in columns]
            seconds += sum(self.folder_grower.seconds(f"{job.stage}/{kind}") for kind in reads)
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
            prepare=partial(with_columns, how),
            sames=self.sames[job.stage],
            k=self.k,
            spent=sum(bool(how.ask(tree, restore(tree, how.steps))) for tree in trees),
        )

    def _fresh_of(
        self, stage: str, trees: Mapping[TreeKey, Tree]
    ) -> Mapping[TreeKey, Mapping[int, int]]:
        """Fresh prompt tokens of a pool's episodes, counted once."""
        if stage not in self.fresh:
            self.fresh[stage] = {key: fresh_prompts(tree) for key, tree in trees.items()}
        return self.fresh[stage]


def with_columns(how: Strategy, tree: Tree) -> Tree:
    """The tree with the columns that its strategy makes of it."""
    tree.columns.update(how.columns(tree))
    return tree


def _mine(entry: Entry, reads: Iterable[str]) -> bool:
    """Whether a method pays for an entry of a pool: not for guides that it does not read."""
    return not entry.kind.startswith("scorer_tokens") or entry.kind in reads
