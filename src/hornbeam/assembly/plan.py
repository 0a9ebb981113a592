"""From a recipe to what it names: program, tools, strategy, credit and tasks, made and checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hornbeam.assembly.engines import check_segments, engine_settings
from hornbeam.assembly.needed_columns import credit_of
from hornbeam.assembly.recipe_files import check_files
from hornbeam.assembly.state_maker import StepStates, make_states
from hornbeam.assembly.task_plan import Loaded, checked_sources, loaded_tasks
from hornbeam.assembly.tool_worlds import WorldKind, check_world, make_world
from hornbeam.assembly.toolset import has_several, made, tool_makers
from hornbeam.errors import RecipeError
from hornbeam.files import paths
from hornbeam.programs import Demonstration, check_names, make_program, native_tools
from hornbeam.protocols import Method, Program
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
    states: StepStates | None = None  # in which state each step is taken


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
    with keys_of(recipe.grow, "[grow]"):
        grow = strategy(recipe.grow.strategy, base, **recipe.grow.rest())
    how = credit_of(recipe, base, grow)
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
        make_states(recipe, base, how, world, agents_tools),
    )
