"""Searches by name, ready to grow: their guides loaded, each made when it is first asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hornbeam.assembly.guides import Guides
from hornbeam.assembly.tree_growth import StoreGrower
from hornbeam.errors import RecipeError
from hornbeam.grow.grower import Grower
from hornbeam.jobs.search.missing import (
    ENGINE_GIVES_NONE,
    all_give_logprobs,
    no_ids,
    reads_ids,
    reads_logprobs,
)
from hornbeam.jobs.search.search_growth import search_grower
from hornbeam.jobs.service.served_names import PREFIX, ServedSearch, served_search
from hornbeam.jobs.service.served_tasks import stage_of
from hornbeam.programs.conversation import conversation
from hornbeam.protocols import Guide
from hornbeam.recipe.recipe import Recipe
from hornbeam.score.alike import Alike, AlikeGuide
from hornbeam.search import Vote


@dataclass(frozen=True, slots=True)
class ReadySearch:
    """A search and what grows its trees."""

    search: ServedSearch
    grower: Grower


class ReadySearches:
    """The searches of a recipe. `grower` has the store and the policies of its run."""

    def __init__(self, recipe: Recipe, grower: StoreGrower) -> None:
        self.recipe, self.grower = recipe, grower
        self.alike = Alike(recipe.reward)
        self._guides: dict[tuple[str, ...], Guides] = {}  # by the columns that they write
        self._ready: dict[str, ReadySearch] = {}

    async def find(self, name: str) -> ReadySearch:
        """The search of a name. Raises as `served_search`, and as guides do."""
        name = name.removeprefix(PREFIX)
        if name not in self._ready:
            guides = await self._opened(name, served_search(self.recipe, name).job.reads)
            found = served_search(self.recipe, name, guides.marks)
            self._ready[name] = ReadySearch(found, self._grower(found, guides))
        return self._ready[name]

    def of_stage(self, stage: str) -> ReadySearch | None:
        """The search whose trees stand there, if it was found before."""
        ready = self._ready.values()
        return next((each for each in ready if stage_of(each.search) == stage), None)

    async def _opened(self, name: str, columns: tuple[str, ...]) -> Guides:
        """The guides that write these columns, made once."""
        if columns not in self._guides:
            tokenizer = self.grower.world.policies.tokenizer
            if tokenizer is None and (column := reads_ids(self.recipe.guides, columns)):
                raise RecipeError(f"{PREFIX}{name}: {no_ids(column)}")
            made = Guides(self.recipe, columns, tokenizer)
            try:
                await made.open()
            except BaseException:
                await made.aclose()
                raise
            self._guides[columns] = made
        return self._guides[columns]

    def _grower(self, search: ServedSearch, guides: Guides) -> Grower:
        """What grows its trees: as `hornbeam search` has it, but nothing is scored."""
        job = search.job
        judges: list[Guide] = [guides[column] for column in guides.needed(job.reads)]
        if isinstance(job.strategy, Vote):
            judges.append(AlikeGuide(self.alike))
        grower = search_grower(self.grower, job.method, job.strategy, judges)
        speakers = [(each.engine, each.sampling) for each in grower.agents.values()]
        goes_by = reads_logprobs(self.recipe.guides, job.strategy, job.choose, job.reads)
        if goes_by and not all_give_logprobs(speakers):
            raise RecipeError(f"{PREFIX}{search.name}: {ENGINE_GIVES_NONE}")
        if not search.program:
            grower = replace(grower, program=conversation(search.agent, search.answer))
        return replace(grower, scorer=None)

    async def aclose(self) -> None:
        """Give back what guides and checkers hold; the run's own stays open."""
        for guides in self._guides.values():
            await guides.aclose()
        await self.alike.aclose()
