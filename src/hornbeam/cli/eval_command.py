"""`hornbeam eval`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer

from hornbeam.cli.job_setup import RecipeArgument, Sets, planned
from hornbeam.errors import ProgramError, RecipeError


def eval_command(
    recipe: RecipeArgument,
    model: Annotated[
        str | None,
        typer.Option("--model", help="Weights to evaluate.", show_default="the recipe's"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Also write the trees as JSON lines.")
    ] = None,
    sets: Sets = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure RECIPE on its held-out tasks, greedily: accuracy, or the mean reward."""
    from hornbeam.cli.recipes_command import find
    from hornbeam.jobs.recipe_checks import check
    from hornbeam.recipe.recipe import load_recipe

    path = find(recipe)
    loaded = load_recipe(path, sets or [])
    loaded = loaded.with_weights(model) if model else loaded
    check(loaded)
    if not loaded.tasks.eval:
        raise RecipeError(f"{path.name}: tasks.eval is empty: name a source, as in [[tasks.eval]]")
    from rich.console import Console

    from hornbeam.assembly.progress import Progress
    from hornbeam.stats import between, named

    made = planned(loaded, path.parent)
    from hornbeam.assembly.failed_episodes import all_failed, failed_of
    from hornbeam.jobs.eval.evaluate import evaluate

    trees, result = asyncio.run(evaluate(loaded, made, progress=Progress(Console(stderr=True))))
    if out is not None:
        from hornbeam.tree.jsonl import write_trees

        write_trees(trees, out)
    if fell := all_failed(trees):
        raise ProgramError(f"the evaluation: {fell}")
    if as_json:
        typer.echo(json.dumps(result))
        return
    for source in made.eval.sources:
        typer.echo(source)
    failed = f"; {failed_of(result)}" if result["failed"] else ""
    name, value = named(result)
    share = result["cut_off"]
    cut = f", {100 * share:.1f} % of answers cut off at max_tokens" if share else ""
    typer.echo(f"{name} {value}{between(result)} of {result['count']}{cut}{failed}")
