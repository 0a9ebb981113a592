"""`hornbeam anchor`."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated

import typer

from hornbeam.cli.job_setup import (
    RecipeArgument,
    Sets,
    planned,
    recipe_from_options,
    results_alone,
    stopped,
)
from hornbeam.files.terminal import tell

if TYPE_CHECKING:
    from hornbeam.recipe.recipe import Recipe


def anchor_command(
    recipe: RecipeArgument,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", help="The reference policy.", show_default="the recipe's anchor.model"
        ),
    ] = None,
    sets: Sets = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Run the reference policy on the training tasks of RECIPE: what it can and what that cost."""
    named = [f"anchor.model={json.dumps(model)}"] if model else []
    loaded, base, _ = recipe_from_options(recipe, None, None, [*(sets or []), *named], "anchor")
    from hornbeam.assembly.recipe_files import check_files

    check_files(loaded, base, "anchor", "weights")
    from rich.console import Console

    from hornbeam.assembly.progress import Progress

    progress = Progress(Console(stderr=as_json))
    with results_alone(as_json):
        made = planned(loaded, base, _reference_name(loaded))
    from hornbeam.jobs.anchor.run_anchors import Anchors

    job = Anchors(loaded, made, progress)
    with stopped(), results_alone(as_json):
        result = asyncio.run(job.go())
    if as_json:
        tell(json.dumps(result))
        return
    by_teacher = (
        f" ({result['taught']} by the teacher)" if loaded.anchor and loaded.anchor.teacher else ""
    )
    progress.say(
        f"{result['tasks']} tasks: {result['solved']} solved, {result['mixed']} mixed,"
        f" {result['unsolved']} unsolved{by_teacher}; mean reward {result['mean']:.3f};"
        f" {result['tokens']:,.0f} tokens now, {result['anchor_tokens']:,.0f} in all"
    )
    progress.say(f"Anchors: {result['store']}")


def _reference_name(recipe: Recipe) -> str:
    """The name of the reference policy."""
    return (recipe.anchor.model if recipe.anchor else "") or recipe.model.name
