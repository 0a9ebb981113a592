"""The world of a recipe: what its tools act on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hornbeam.errors import RecipeError
from hornbeam.own.own_parts import find_part
from hornbeam.recipe.recipe import Recipe
from hornbeam.recipe.sections import keys_of
from hornbeam.settings import build, led_by, nearest
from hornbeam.workers.local_workers import wants_world
from hornbeam.worlds import Snapshots, no_world, own_world, worlds
from hornbeam.worlds import WorldKind as WorldKind

Tool = Callable[..., Any]


def make_world(recipe: Recipe, base: Path) -> WorldKind | None:
    """The kind of world that tools act on, if the recipe names one. Raises `RecipeError`."""
    choice, settings = recipe.world, recipe.world.rest()
    if not choice.kind:
        if settings:
            key = min(settings)
            meant = nearest(key, ["kind"])
            hint = f" and no kind: {nearest('', worlds)}"
            hint = f": {meant}" if meant.startswith("did") else hint
            raise RecipeError(f"[world] has {key!r}{hint}")
        return None
    with keys_of(choice, "[world]"):
        if choice.kind in worlds:
            return build("world", worlds, choice.kind, settings).beside(base)
        part = find_part("world", choice.kind, worlds, base)
        with led_by("world"):
            return own_world(part, settings, base)


def check_world(world: WorldKind | None, tools: Mapping[str, Tool]) -> None:
    """`RecipeError` where a tool acts on a world and there is none."""
    found = (name for name, tool in tools.items() if wants_world(tool))
    if world is None and (name := next(found, "")):
        raise RecipeError(no_world(name))


def snapshots_of(recipe: Recipe, base: Path) -> Snapshots | None:
    """What keeps the worlds of a process, if the recipe has some."""
    world = make_world(recipe, base)
    return None if world is None else Snapshots(world)
