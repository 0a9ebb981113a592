"""A blame from its options to what is found: the run, its recipe, the folder that keeps forks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hornbeam.assembly.engines import needs_folder
from hornbeam.assembly.progress import Progress
from hornbeam.blame import BlameForks
from hornbeam.errors import DataError
from hornbeam.jobs.blame.blame_job import BlamedRun, BlameRuns
from hornbeam.jobs.blame.failed_runs import (
    Failed,
    RecordedRun,
    RecordedRuns,
    failed_runs,
    one_run,
)
from hornbeam.jobs.blame.guide_values import GUIDE
from hornbeam.jobs.event_loop import run_loop
from hornbeam.jobs.preparation import Say, planned
from hornbeam.jobs.recipe_checks import check
from hornbeam.jobs.search.missing import OF_LOGPROBS
from hornbeam.models.catalogue import check_folder
from hornbeam.recipe import toml
from hornbeam.recipe.recipe import Recipe, TaskSection, recipe_from_data
from hornbeam.settings import digest

OTHER_FORKS = 1_000_000  # numbers that a seed has to itself
PRIOR = 4.0  # forks that a guide's values count for


@dataclass(frozen=True, slots=True)
class BlameOptions:
    """What is asked: as the options of `hornbeam blame` say it. `recipe` and what follows it tell
    what grows the forks, where that is not the run's own.
    """

    run: Path
    store: str | None = None
    tree: str | None = None
    leaf: int | None = None
    every: bool = False
    stage: str | None = None
    forks: int = 128
    tokens: int | None = None
    success: float = 0.5
    won: bool = False
    guide: str | None = None
    seed: int = 0
    recipe: Path | None = None
    agent: str | None = None
    model: str | None = None
    sets: tuple[str, ...] = ()
    out: Path | None = None

    def strategy(self) -> BlameForks:
        """How forks are spent. `DataError` for a budget or a bound that cannot be."""
        for name, value, least in (("forks", self.forks, 1), ("tokens", self.tokens, 1)):
            if value is not None and value < least:
                raise DataError(f"--{name} {value}: buys no fork: give it {least} or more")
        if self.seed < 0:
            raise DataError(f"--seed {self.seed}: a number of 0 or more is expected")
        return BlameForks(
            forks=self.forks,
            tokens=self.tokens,
            rise=self.won,
            first=self.seed * OTHER_FORKS,
            guide=GUIDE if self.guide else "",
            prior=PRIOR if self.guide else 0.0,
        )


def blame(options: BlameOptions, progress: Progress, say: Say) -> tuple[list[BlamedRun], Path]:
    """What is found of the runs that are asked for, and the folder of their forks.

    `say` hears of what is loaded. Raises as its parts do.
    """
    how = options.strategy()
    recorded = RecordedRuns(options.run, options.store)
    runs = _chosen(options, recorded)
    recipe, base = blamed_recipe(options, recorded)
    check(recipe)
    recorded.check_code(recipe, base)
    folder = options.out or _folder(options, recorded)
    made = planned(recipe, base, say, tasks=())

    async def go() -> list[BlamedRun]:
        return await BlameRuns(recipe, made, folder, progress, how).go(runs)

    return run_loop(go()), folder


def _chosen(options: BlameOptions, recorded: RecordedRuns) -> list[RecordedRun]:
    which = Failed(options.success, options.won)
    if options.every:
        return [*failed_runs(recorded, options.stage, which)]
    return [one_run(recorded, options.tree, options.leaf, options.stage, which)]


def blamed_recipe(options: BlameOptions, recorded: RecordedRuns) -> tuple[Recipe, Path]:
    """(the recipe by which forks grow, the folder of its files): the run's own, or as is said.

    A training run speaks by the weights that it ended with. Raises `RecipeError` and `DataError`.
    """
    if options.recipe is not None:
        path = options.recipe
        data, where, base = toml.read_toml(path), path.name, path.parent
    elif recorded.recipe is not None:
        data, where, base = dict(recorded.recipe), f"recipe of {recorded.name}", recorded.base
    else:
        raise DataError(f"{recorded.name}: trees without a recipe: name it by --recipe")
    data = toml.override(data, options.sets)
    if options.agent is not None:
        data["program"] = {"agent": options.agent}
    if options.guide is not None:
        known = data.get("guides", {})
        data["guides"] = {**known, GUIDE: _guide(options.guide, known)}
    recipe = recipe_from_data(data, where, base)
    recipe = recipe.model_copy(update={"tasks": TaskSection()})  # the runs have their own
    weights = options.model
    final = recorded.weights
    if weights is None and options.recipe is None and final is not None and final.is_dir():
        weights = str(final) if needs_folder(recipe) else None
    return (recipe.with_weights(weights) if weights else recipe), recipe.base


def _guide(name: str, known: Mapping[str, Any]) -> dict[str, Any]:
    """The table of a guide: a value model's folder, or a guide of the recipe by its name.

    Raises `ModelError` where it is neither, `DataError` where its values are no chances.
    """
    if name not in known:
        check_folder(Path(name))
        return {"kind": "prm", "model": str(Path(name).resolve())}
    table: dict[str, Any] = known[name]
    if table.get("kind") in OF_LOGPROBS and "scale" not in table:
        raise DataError(
            f"--guide {name}: its values are log-probs, and blame takes chances: set"
            f" guides.{name}.scale = 1.0, which takes them into [-1, 1]"
        )
    return table


def _folder(options: BlameOptions, recorded: RecordedRuns) -> Path:
    """Where forks are kept: apart for each policy and program that they are of."""
    given: list[Any] = [
        options.recipe and str(options.recipe),
        options.agent,
        options.model,
        *options.sets,
    ]
    changed = f"-{digest(given)}" if any(given) else ""
    return recorded.out.with_name(recorded.out.name + changed)
