"""`hornbeam fit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hornbeam.cli.job_setup import (
    Model,
    RecipeArgument,
    Sets,
    recipe_from_options,
    stopped,
)
from hornbeam.files.paths import check_file
from hornbeam.files.terminal import to_stderr


def fit_command(
    recipe: RecipeArgument,
    trees: Annotated[list[Path], typer.Option("--trees", help="Labelled trees, JSON lines.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the fitted model.")],
    model: Model = None,
    column: Annotated[
        str | None,
        typer.Option("--column", help="Targets.", show_default="q; reward for objective outcome"),
    ] = None,
    sets: Sets = None,
) -> None:
    """Fit a value head on labelled trees by section fit of RECIPE."""
    loaded, _, _ = recipe_from_options(recipe, out, model, sets, "fit")
    from hornbeam.assembly.progress import Progress
    from hornbeam.tree.jsonl import read_trees

    found: list[Any] = []
    for path in trees:
        check_file(path, "`hornbeam label` writes trees.jsonl")
        found += read_trees(path)
    from hornbeam.jobs.fit.fit_job import fit_recipe

    with stopped():
        fit_recipe(loaded, found, out, Progress(), to_stderr, column)
