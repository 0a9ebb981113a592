"""The tools of a recipe: ready-made ones with their settings, and functions out of files."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hornbeam.errors import RecipeError, UnknownSetting
from hornbeam.files import paths
from hornbeam.own.own_code import load_module
from hornbeam.recipe.recipe import Recipe
from hornbeam.recipe.sections import ToolSection, keys_of
from hornbeam.settings import nearest
from hornbeam.tools import tool_settings, tools

Tool = Callable[..., Any]


def make_tools(recipe: Recipe, base: Path) -> dict[str, Tool]:
    """The tools of a recipe by name, its own files beside it in `base`."""
    return {name: make() for name, make in tool_makers(recipe, base).items()}


def tool_makers(recipe: Recipe, base: Path) -> dict[str, Callable[[], Tool]]:
    """What makes the tools: all their settings are checked before one builds its index."""
    return {name: _tool(name, choice, base) for name, choice in recipe.tools.items()}


def _tool(name: str, choice: ToolSection, base: Path) -> Callable[[], Tool]:
    """What makes a ready-made tool, or gives a function out of a file."""
    settings = choice.rest()
    file, colon, function = choice.use.rpartition(":")
    with keys_of(choice, f"[tools.{name}]"):
        if not choice.use and name not in tools and settings:  # a misspelt use names no tool
            hint = nearest(name, tools)
            raise UnknownSetting(f"unknown tool {name!r}: {hint}", sorted(settings), [])
        if not colon:
            return tool_settings(choice.use or name, **settings).beside(base).make
    if settings:
        raise RecipeError(f"tools.{name}: a function takes no settings, {sorted(settings)} given")
    module = load_module(paths.find(file, base))
    found = getattr(module, function, None)
    if not callable(found):
        known = [n for n, v in vars(module).items() if inspect.isfunction(v)]
        hint = nearest(function, known) if known else "there is none"
        raise RecipeError(f"tools.{name}: {file} has no function {function!r}: {hint}")
    return lambda: found
