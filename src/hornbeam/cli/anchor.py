"""`hornbeam anchor`."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated

import typer

from hornbeam.cli.runs import RecipeArgument, Sets, planned, stopped
from hornbeam.cli.search import told_recipe

if TYPE_CHECKING:
    from hornbeam.run.recipe import Recipe


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
    told, base, _ = told_recipe(recipe, None, None, [*(sets or []), *named], "anchor")
    from hornbeam.run.files import check_files

    check_files(told, base, "anchor", "weights")
    from rich.console import Console

    from hornbeam.run import Watch

    watch = Watch(Console(stderr=as_json))
    made = planned(told, base, _speaks(told))
    from hornbeam.run.anchors import Anchors

    job = Anchors(told, made, watch)
    with stopped():
        result = asyncio.run(job.go())
    if as_json:
        typer.echo(json.dumps(result))
        return
    by_teacher = f" ({result['taught']} by the teacher)" if told.anchor.teacher else ""
    watch.say(
        f"{result['tasks']} tasks: {result['solved']} solved, {result['mixed']} mixed,"
        f" {result['unsolved']} unsolved{by_teacher}; mean reward {result['mean']:.3f};"
        f" {result['tokens']:,.0f} tokens now, {result['anchor_tokens']:,.0f} in all"
    )
    watch.say(f"Anchors: {result['store']}")


def _speaks(told: Recipe) -> str:
    """The name of the reference policy."""
    return (told.anchor.model if told.anchor else "") or told.model.name
