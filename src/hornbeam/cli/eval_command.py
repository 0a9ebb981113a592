"""`hornbeam eval`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from hornbeam.cli.job_setup import (
    RecipeArgument,
    Sets,
    recipe_from_options,
    results_alone,
)
from hornbeam.errors import DataError, ProgramError
from hornbeam.files.terminal import tell, to_stderr


def eval_command(
    recipe: RecipeArgument,
    model: Annotated[
        str | None,
        typer.Option("--model", help="Weights to evaluate.", show_default="the recipe's"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Also write the trees to this file, or to trees.jsonl in a folder that is there.",
        ),
    ] = None,
    sets: Sets = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure RECIPE on its held-out tasks, greedily: accuracy, or the mean reward."""
    loaded, base, _ = recipe_from_options(recipe, None, model, sets, "eval")
    file = tree_file(out) if out is not None else None
    from rich.console import Console

    from hornbeam.assembly.failed_episodes import all_failed, failed_of
    from hornbeam.assembly.progress import Progress
    from hornbeam.jobs.eval.eval_job import evaluate_recipe
    from hornbeam.stats import between, named

    seen = Progress(Console(stderr=True))
    with results_alone():
        made, trees, result = evaluate_recipe(loaded, base, seen, to_stderr)
    if file is not None:
        from hornbeam.tree.jsonl import write_trees

        tell(f"{write_trees(trees, file)} trees: {file}", err=as_json)
    if fell := all_failed(trees):
        raise ProgramError(f"the evaluation: {fell}")
    if as_json:
        tell(json.dumps(result))
        return
    for source in made.eval.sources:
        tell(source)
    name, value = named(result)
    share = result["cut_off"]
    cut = f", {100 * share:.1f} % of answers cut off at max_tokens" if share else ""
    tell(f"{name} {value}{between(result)} of {result['count']}{cut}{failed_of(result)}")


def tree_file(out: Path) -> Path:
    """The file that trees are written to: `out`, or trees.jsonl in it where it is a folder.

    Folders above it are made. Raises `DataError` where they cannot be.
    """
    file = out / "trees.jsonl" if out.is_dir() else out
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"--out {out}: cannot be written: {error.strerror or error}") from error
    return file
