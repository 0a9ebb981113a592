"""From a recipe to what it names: program, tools, strategy, credit and tasks, made and checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hornbeam.assembly.engines import check_segments, engine_settings
from hornbeam.assembly.recipe_files import check_files, needed_columns
from hornbeam.assembly.task_plan import Loaded, checked_sources, loaded_tasks
from hornbeam.assembly.tool_worlds import WorldKind, check_world, make_world
from hornbeam.assembly.toolset import has_several, made, tool_makers
from hornbeam.credit import Method, method
from hornbeam.errors import RecipeError
from hornbeam.files import paths
from hornbeam.programs import Demonstration, check_names, make_program, native_tools
from hornbeam.protocols import Program
from hornbeam.recipe.recipe import Recipe
from hornbeam.recipe.sections import keys_of
from hornbeam.score.reward_function import named_function
from hornbeam.search import Strategy, strategy


@dataclass(frozen=True, slots=True)
class Plan:
    """What a recipe names, made and checked before any model is loaded."""

    program: Program
    demonstration: Demonstration | None
    tools: dict[str, Callable[..., Any]]
    strategy: Strategy
    credit: Method
    train: Loaded
    eval: Loaded
    shown: Path | None = None  # the SFT set in place of demonstrations
    base: Path = Path()  # where the recipe's own files lie
    world: WorldKind | None = None  # what tools act on


def plan(recipe: Recipe, base: Path, tasks: Sequence[str] = ("train",)) -> Plan:
    """Make all that is cheap to make. Raises `RecipeError`, `ProgramError` or `DataError`.

    Names and settings come first, then what reads files. `tasks` are those that the job cannot do
    without, of "train" and "eval"; others are loaded where there are some, since tasks of both are
    an error.
    """
    engine_settings(recipe.engine)
    check_segments(recipe)
    check_files(recipe, base)
    section = recipe.program
    with keys_of(section, "[program]"):
        program, demonstration = make_program(section.name, section.rest(), base)
    if not has_several(recipe):
        check_names(section.name, section.rest(), recipe.agents, recipe.tools)
    for place, table in recipe.reward.own.items():
        with keys_of(table, f"[{place}]"):
            named_function(table.rule, base, table.rest(), f"{place}.rule")
    tools = tool_makers(recipe, base)
    world = make_world(recipe, base)
    how = _credit(recipe, base)
    with keys_of(recipe.grow, "[grow]"):
        grow = strategy(recipe.grow.strategy, base, **recipe.grow.rest())
    sources = checked_sources(recipe, base, tasks)
    data = recipe.sft.data if recipe.sft is not None else ""
    if recipe.sft is not None and demonstration is None and not data:
        raise RecipeError(
            f"[sft] needs demonstrations, and program {recipe.program.name!r} has none: leave the"
            " section out, set sft.data, or give your file a function demonstration(task)"
        )
    train, held_out = loaded_tasks(recipe, base, sources)
    agents_tools = made(tools)
    check_world(world, agents_tools)
    if has_several(recipe):
        check_names(section.name, section.rest(), recipe.agents, agents_tools)
    native_tools(section.name, section.rest(), agents_tools)
    return Plan(
        program,
        demonstration,
        agents_tools,
        grow,
        how,
        train,
        held_out,
        paths.find(data, base) if data else None,
        base.resolve(),
        world,
    )


def _credit(recipe: Recipe, base: Path) -> Method:
    """The credit of a recipe. `RecipeError` where it reads what the recipe has not."""
    with keys_of(recipe.credit, "[credit]"):
        how = method(recipe.credit.method, base, **recipe.credit.rest())
    if "format" in how.parts and recipe.reward.format is None:
        raise RecipeError("credit.weights.format: set reward.format, which says what good form is")
    for column in needed_columns(recipe, how):
        if column not in recipe.guides:
            where = "credit.column" if column == how.reads else "reward.delegation.column"
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
