"""The tasks of a recipe, looked at and loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hornbeam.assembly.toolset import sources_of
from hornbeam.errors import RecipeError
from hornbeam.recipe.recipe import Recipe
from hornbeam.score.rules import check_task
from hornbeam.tasks.task_sources import Loaded as Loaded
from hornbeam.tasks.task_sources import TaskSettings, check_disjoint, check_source, load_tasks


def checked_sources(
    recipe: Recipe, base: Path, needed: Sequence[str]
) -> tuple[list[TaskSettings], list[TaskSettings]]:
    """The sources of training and held-out tasks. `RecipeError` where one is unfit, or none is."""
    train, held_out = (sources_of(recipe, s) for s in (recipe.tasks.train, recipe.tasks.eval))
    for source in (*train, *held_out):
        check_source(source, base)
    for part in needed:
        if not getattr(recipe.tasks, part):
            raise RecipeError(f"tasks.{part} is empty: name a source, as in [[tasks.{part}]]")
    return train, held_out


def loaded_tasks(
    recipe: Recipe, base: Path, sources: tuple[list[TaskSettings], list[TaskSettings]]
) -> tuple[Loaded, Loaded]:
    """Training and held-out tasks; none is in both, and each fits its rule."""
    train, held_out = (load_tasks(each, base=base) if each else Loaded([], []) for each in sources)
    check_disjoint(train.tasks, held_out.tasks)
    for task in [*train.tasks, *held_out.tasks]:
        for judged in recipe.reward.judged.values():
            check_task(judged.rule, task)
    return train, held_out
