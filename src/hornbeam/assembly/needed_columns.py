"""The credit of a recipe, and which columns of guides a training run needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hornbeam.assembly.engines import needs_folder
from hornbeam.credit import Method, is_step, method
from hornbeam.errors import RecipeError
from hornbeam.recipe.recipe import Recipe
from hornbeam.recipe.sections import keys_of
from hornbeam.score import PARTS
from hornbeam.search import Strategy, strategy

HEAD = "value_head"  # the kind of guides that a run fits itself


def needed_columns(recipe: Recipe, how: Method, grow: Strategy | None = None) -> list[str]:
    """Columns of guides that credit, rewards and growth read while a run trains, each once."""
    delegation = recipe.reward.delegation
    made = ("reward", *PARTS, *(f"reward.{name}" for name in recipe.reward.parts))
    parts = [part for part in how.parts if part not in made and not is_step(part)]
    steers = [] if grow is None else [column for column in grow.reads if column not in made]
    names = [how.reads, delegation.column if delegation else "", *parts, *steers]
    return list(dict.fromkeys(name for name in names if name))


def read_in_training(recipe: Recipe) -> set[str]:
    """Those of the recipe's guides that training needs, and what they are mixed from."""
    with keys_of(recipe.credit, "[credit]"):
        how = method(recipe.credit.method, recipe.base, **recipe.credit.rest())
    with keys_of(recipe.grow, "[grow]"):
        grow = strategy(recipe.grow.strategy, recipe.base, **recipe.grow.rest())
    read: set[str] = set()
    wanted = needed_columns(recipe, how, grow) if recipe.run.steps else []
    while wanted:
        column = wanted.pop()
        if column in recipe.guides and column not in read:
            read.add(column)
            parts: Any = recipe.guides[column].rest().get("parts")
            wanted += list(parts) if isinstance(parts, dict) else []
    return read


def credit_of(recipe: Recipe, base: Path, grow: Strategy) -> Method:
    """The credit of a recipe. `RecipeError` where it reads what the recipe has not."""
    with keys_of(recipe.credit, "[credit]"):
        how = method(recipe.credit.method, base, **recipe.credit.rest())
    if "format" in how.parts and recipe.reward.format is None:
        raise RecipeError("credit.weights.format: set reward.format, which says what good form is")
    for column in needed_columns(recipe, how, grow):
        if column not in recipe.guides:
            where = "grow.column" if column in grow.reads else "reward.delegation.column"
            where = "credit.column" if column == how.reads else where
            where = f"credit.weights.{column}" if column in how.parts else where
            raise RecipeError(
                f"{where}: no guide writes {column!r}: add a table [guides.{column}] that"
                " says which model does"
            )
    if how.anchored and recipe.anchor is None:
        raise RecipeError(
            f"credit {recipe.credit.method!r} reads a prior of each task: add a section [anchor],"
            " and run `hornbeam anchor` before training"
        )
    return how


def check_heads(recipe: Recipe, decoupled: bool) -> None:
    """`RecipeError` where a run cannot fit the value heads that it reads, nor spread branches."""
    if recipe.grow.rest().get("spread") and (decoupled or recipe.workers.kind != "local"):
        raise RecipeError(
            'grow.spread: one process grows a step: set workers.kind = "local", no --policy'
        )
    read = [column for column in read_in_training(recipe) if recipe.guides[column].kind == HEAD]
    if not read:
        return
    where = f'guides.{min(read)}: kind "{HEAD}" is fitted between two steps of one process'
    if recipe.workers.kind != "local":
        raise RecipeError(f'{where}: set workers.kind = "local"')
    if recipe.run.behind:
        raise RecipeError(f"{where}: set run.behind = 0")
    if decoupled:
        raise RecipeError(f"{where}: leave --policy out")
    if not needs_folder(recipe):
        raise RecipeError(f"{where}: the weights of the policy are not here")
