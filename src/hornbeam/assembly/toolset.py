"""The tools of a recipe: ready-made ones, functions out of files, those of MCP servers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hornbeam.arguments import described
from hornbeam.errors import RecipeError, UnknownSetting
from hornbeam.own.own_classes import subclass
from hornbeam.own.own_functions import call_settings
from hornbeam.own.own_parts import Named, find_part
from hornbeam.programs.verifiers_program import VerifiersProgram
from hornbeam.recipe.recipe import Recipe
from hornbeam.recipe.sections import ToolSection, keys_of
from hornbeam.settings import Settings, build, led_by
from hornbeam.tasks.task_sources import TaskSettings
from hornbeam.tools import ToolSettings, tool_settings, tools, toolsets
from hornbeam.tools.mcp_tools import McpServer, McpSettings
from hornbeam.tools.verifiers_tools import environment_tools

Tool = Callable[..., Any]


Make = Callable[[], dict[str, Tool]]


def make_tools(recipe: Recipe, base: Path) -> dict[str, Tool]:
    """The tools of a recipe by name, its own files beside it in `base`."""
    return made(tool_makers(recipe, base))


def tool_makers(recipe: Recipe, base: Path) -> dict[str, Make]:
    """What makes the tools of each table: all settings are checked before one builds its index."""
    commands = recipe.commands or base
    makers = {name: _table(name, each, base, commands) for name, each in recipe.tools.items()}
    if recipe.program.name == "verifiers":
        how = VerifiersProgram(**recipe.program.rest())
        makers["verifiers"] = partial(environment_tools, how.environment, how.taskset, base)
    return makers


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


def has_several(recipe: Recipe) -> bool:
    """Whether tables have other tools than their names say: those of servers, and sets."""
    known = recipe.tools.items()
    return any(choice.mcp or (choice.use or name) in toolsets for name, choice in known)


def _table(name: str, choice: ToolSection, base: Path, commands: Path) -> Make:
    """What makes the tools of one table; a server's command runs in `commands`."""
    if not choice.mcp:
        use = choice.use or name
        if use in toolsets:
            with keys_of(choice, f"[tools.{name}]"):
                build("tool", {use: Settings}, use, choice.rest())
            return toolsets[use]
        make = _tool(name, choice, base)
        return lambda: {name: make()}
    place = f"tools.{name}"
    if choice.use:
        raise RecipeError(f"[{place}] has both use and mcp: leave one out")
    with keys_of(choice, f"[{place}]"):
        values = {"mcp": choice.mcp, **choice.rest()}
        settings = build("tool", {name: McpSettings}, name, values)
    server = McpServer(place, settings, commands)
    return lambda: dict(server.tools())


def _tool(name: str, choice: ToolSection, base: Path) -> Callable[[], Tool]:
    """What makes a ready-made tool, or gives a function out of a file."""
    settings, use = choice.rest(), choice.use or name
    with keys_of(choice, f"[tools.{name}]"):
        if use in tools:
            return tool_settings(use, **settings).beside(base).make
        try:
            part = find_part("tool", use, [*tools, *toolsets], base)
        except RecipeError as error:
            if choice.use or not settings:
                raise
            raise UnknownSetting(str(error), sorted(settings), []) from error  # a misspelt use
        with led_by(f"tools.{name}"):
            return _own_tool(part, settings, base)


def _own_tool(part: Named, settings: dict[str, Any], base: Path) -> Callable[[], Tool]:
    """What makes a tool of one's own: a class that is made with its settings, or a function."""
    thing = part.thing
    if isinstance(thing, type) and issubclass(thing, Settings):
        kind: type[ToolSettings] = subclass(part, (ToolSettings,))
        settled: ToolSettings = build("tool", {part.where: kind}, part.where, settings)
        return settled.beside(base).make
    if isinstance(thing, type):
        if not any("__call__" in vars(each) for each in thing.__mro__):
            raise RecipeError(f"{part.where} makes what cannot be called: give it a __call__")
        return partial(thing, **call_settings(part, settings))
    if not callable(thing):
        raise RecipeError(f"{part.where} is {described(thing)}: a function is expected")
    if settings:
        raise UnknownSetting(
            f"{part.where} is a function and takes no settings, {min(settings)!r} is given: make"
            " it a class with a __call__",
            sorted(settings),
            [],
        )
    return lambda: thing


def sources_of(recipe: Recipe, sources: Sequence[TaskSettings]) -> list[TaskSettings]:
    """Sources of tasks; "verifiers" is the program's environment, its settings under their own."""
    if recipe.program.name != "verifiers":
        return list(sources)
    how = VerifiersProgram(**recipe.program.rest())
    return [
        each.model_copy(
            update={"name": how.environment, "options": {**how.taskset, **each.options}}
        )
        if each.source == "verifiers" and each.name is None
        else each
        for each in sources
    ]
