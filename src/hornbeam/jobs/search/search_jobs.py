"""The points that a search is of: each method of a recipe at each of its settings, checked.

A tree stands under a stage named after its method and a digest of all that its growth depends on,
so a method that was changed is searched anew, and the others are not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from hornbeam.errors import RecipeError
from hornbeam.own.own_parts import code_mark
from hornbeam.recipe.recipe import Recipe
from hornbeam.recipe.sections import MethodSection, keys_of
from hornbeam.search import Chooser, Independent, Strategy, strategy
from hornbeam.settings import digest
from hornbeam.store.ledger import NO_BUDGET

POOL = "pool"  # prefix of the stages of pools
OWN = {"kept", "q", "visits"}  # columns that strategies make
NO_MARKS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Job:
    """One point of one method: what grows its trees, and where they stand."""

    method: MethodSection
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
                    out.append(make_job(recipe, method, label, settings, marks))
            except RecipeError as error:
                raise RecipeError(f"search method {method.name!r}: {error}") from error
    return sized(out)


def sized(made: Sequence[Job]) -> list[Job]:
    """The jobs with the most episodes of each pool in its stage's name."""
    most: dict[str, int] = {}
    for job in made:
        most[job.pool] = max(most.get(job.pool, 0), job.strategy.leaves())
    return [replace(j, stage=f"{j.pool} {most[j.pool]}") if j.pooled else j for j in made]


def make_job(
    recipe: Recipe,
    method: MethodSection,
    label: str,
    settings: dict[str, Any],
    marks: Mapping[str, str],
    pools: bool = True,
) -> Job:
    """One point of a method, checked; one that only samples has a part of a pool if it `pools`.

    Raises `RecipeError`, which does not name the method.
    """
    how = strategy(method.strategy, recipe.base, **settings)
    choose = method.choice(recipe.base)
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
    if pools and isinstance(how, Independent) and method.budget == NO_BUDGET:
        stage = f"{POOL} {digest(sampling)}"
    else:
        judged = [[c, recipe.guides[c].model_dump(), marks.get(c, "")] for c in reads]
        budget, code = method.budget.model_dump(), code_mark(method.strategy, recipe.base)
        stage, before = (
            f"{method.name} {digest([*sampling, method.strategy, each, budget, judged, *code])}"
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
