"""`hornbeam fit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hornbeam.cli.job_setup import (
    Model,
    RecipeArgument,
    Sets,
    loading,
    recipe_from_options,
    stopped,
)
from hornbeam.files.paths import check_file


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
    loading(loaded.model.name)
    from hornbeam.jobs.preparation import threads

    threads(loaded.run.threads)
    from hornbeam.jobs.fit.run_fit import fit

    progress = Progress()
    name = column or ("reward" if loaded.fit.objective == "outcome" else "q")
    with stopped():
        result = fit(loaded, found, name, out, progress)
    kept_out = f"; {result['held_out']} held out:" if result["held_out"] else ""
    progress.say(f"Fitted on {result['trees']} trees{kept_out}")
    for figure, value in result["after"].items():
        was = result["before"].get(figure)
        progress.say(f"  {figure:14} {value:8.4f}" + (f"  (before {was:.4f})" if was else ""))
    progress.say(f"Model:   {out}")
