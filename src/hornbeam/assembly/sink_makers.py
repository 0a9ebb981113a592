"""From the sections of a recipe to sinks: named, their settings checked, made when a run begins."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from hornbeam.errors import RecipeError, UnknownSetting
from hornbeam.own.own_functions import call_settings
from hornbeam.own.own_parts import Named, find_part
from hornbeam.recipe.recipe import Recipe
from hornbeam.recipe.sections import SinkSection, keys_of
from hornbeam.sinks import Sink, check_no_secret, sink_settings, sinks

METHODS = ("start", "row", "tree", "close")


def sections(recipe: Recipe) -> dict[str, SinkSection]:
    """The sinks of a recipe by name; run.tensorboard is one of them."""
    old = {"tensorboard": SinkSection()} if recipe.run.tensorboard else {}
    return {**old, **recipe.sinks}


def sink_makers(recipe: Recipe, base: Path) -> dict[str, Callable[[], Sink]]:
    """What makes each sink, its settings checked. Raises `RecipeError` or `ProgramError`."""
    return {name: _maker(name, choice, base) for name, choice in sections(recipe).items()}


def check_sinks(recipe: Recipe) -> None:
    """`RecipeError` where a sink cannot be, or a ready-made one lacks its extra or its key."""
    sink_makers(recipe, recipe.base)
    for name, choice in sections(recipe).items():
        if (choice.use or name) in sinks:
            sink_settings(choice.use or name, choice.rest()).check(name)


def _maker(name: str, choice: SinkSection, base: Path) -> Callable[[], Sink]:
    settings = choice.rest()
    check_no_secret(name, settings)
    with keys_of(choice, f"[sinks.{name}]"):
        if (choice.use or name) in sinks:
            return sink_settings(choice.use or name, settings).make
        part = _part(name, choice, base)
        given = call_settings(part, settings)
    if not any(hasattr(part.thing, method) for method in METHODS):
        raise RecipeError(f"sinks.{name}: {part.where} has none of the methods of a Sink")
    return partial(part.thing, **given)


def _part(name: str, choice: SinkSection, base: Path) -> Named:
    try:
        return find_part("sink", choice.use or name, sinks, base)
    except RecipeError as error:
        if choice.use or not choice.rest():
            raise
        raise UnknownSetting(str(error), sorted(choice.rest()), []) from error  # a misspelt use
