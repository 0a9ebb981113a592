"""The tools of a recipe: ready-made ones, functions out of files, those of MCP servers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hornbeam.errors import RecipeError, UnknownSetting
from hornbeam.files import paths
from hornbeam.own.own_code import load_module
from hornbeam.recipe.recipe import Recipe
from hornbeam.recipe.sections import ToolSection, keys_of
from hornbeam.settings import build, nearest
from hornbeam.tools import tool_settings, tools
from hornbeam.tools.mcp_tools import McpServer, McpSettings

Tool = Callable[..., Any]


Make = Callable[[], dict[str, Tool]]


def make_tools(recipe: Recipe, base: Path) -> dict[str, Tool]:
    """The tools of a recipe by name, its own files beside it in `base`."""
    return made(tool_makers(recipe, base))


def tool_makers(recipe: Recipe, base: Path) -> dict[str, Make]:
    """What makes the tools of each table: all settings are checked before one builds its index."""
    return {name: _table(name, choice, base) for name, choice in recipe.tools.items()}


def made(makers: Mapping[str, Make]) -> dict[str, Tool]:
    """The tools of all tables. `RecipeError` where two have the same name."""
    found: dict[str, Tool] = {}
    table: dict[str, str] = {}
    for place, make in makers.items():
        for name, tool in make().items():
            if name in found:
                raise RecipeError(
                    f"[tools.{place}] has a tool {name!r}, as [tools.{table[name]}] has: set"
                    f' prefix = "{place}_" for a server, or only = [...] without it'
                )
            found[name], table[name] = tool, place
    return found


def has_servers(recipe: Recipe) -> bool:
    """Whether the names of all tools are only known when servers have told theirs."""
    return any(choice.mcp for choice in recipe.tools.values())


def _table(name: str, choice: ToolSection, base: Path) -> Make:
    """What makes the tools of one table."""
    if not choice.mcp:
        make = _tool(name, choice, base)
        return lambda: {name: make()}
    place = f"tools.{name}"
    if choice.use:
        raise RecipeError(f"[{place}] has both use and mcp: leave one out")
    with keys_of(choice, f"[{place}]"):
        values = {"mcp": choice.mcp, **choice.rest()}
        settings = build("tool", {name: McpSettings}, name, values)
    server = McpServer(place, settings, base)
    return lambda: dict(server.tools())


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
