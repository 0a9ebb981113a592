"""How a recipe's runs tell in which state each step was taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hornbeam.credit import Method
from hornbeam.errors import RecipeError
from hornbeam.grow.step_states import StepStates as StepStates
from hornbeam.own.own_parts import is_own
from hornbeam.recipe.recipe import Recipe
from hornbeam.recipe.sections import keys_of
from hornbeam.settings import led_by, nearest
from hornbeam.workers.local_workers import wants_world
from hornbeam.worlds import WorldKind


def make_states(
    recipe: Recipe,
    base: Path,
    how: Method,
    world: WorldKind | None,
    tools: Mapping[str, Callable[..., Any]],
) -> StepStates | None:
    """How the states of steps are told, where a recipe wants them. Raises `RecipeError`."""
    choice, settings = recipe.state, recipe.state.rest()
    key = choice.key or ("observation" if how.stateful else "")
    if settings and not is_own(key):
        raise RecipeError(
            f"[state] has no key {min(settings)!r}: {nearest(min(settings), ['key'])}"
        )
    if not key:
        return None
    with keys_of(choice, "[state]"), led_by("state"):
        made = StepStates.named(key, settings, base)
    if not made.worldly:
        return made
    if world is None or not any(map(wants_world, tools.values())):
        raise RecipeError('state.key = "world": no tool acts on a world: take "observation"')
    if type(world).state is WorldKind.state:
        raise RecipeError(
            f'state.key = "world": worlds of kind {recipe.world.kind!r} do not tell their state:'
            ' take "observation"'
        )
    return made
