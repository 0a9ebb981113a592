"""`hornbeam search`, `label` and `fit`."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from hornbeam.cli.runs import RecipeArgument, Sets, quiet, stopped, threads
from hornbeam.errors import DataError

Out = Annotated[Path | None, typer.Option("--out", help="Run folder [runs/NAME-COMMAND].")]
Model = Annotated[str | None, typer.Option("--model", help="Weights [the recipe's].")]


def search_command(
    recipe: RecipeArgument,
    out: Out = None,
    model: Model = None,
    sets: Sets = None,
    pool: Annotated[
        Path | None, typer.Option("--pool", help="Only compare choices on these trees (offline).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Search the held-out tasks of RECIPE by its methods; accuracy against cost, as a page."""
    told, base, folder = _recipe(recipe, out, model, sets, "search")
    from hornbeam.run import Watch, plan
    from hornbeam.run.pool import read_pool, search_pool
    from hornbeam.run.readout import table, write_result
    from hornbeam.run.search import Search

    watch = Watch(_console(as_json))
    command = "hornbeam " + " ".join(sys.argv[1:])
    if pool is not None:
        if not pool.is_file():
            raise DataError(f"{pool}: no such file: `hornbeam export` writes one")
        with stopped():
            result = asyncio.run(search_pool(told, read_pool(pool), watch, command))
        page = write_result(result, folder)
    else:
        job = Search(told, plan(told, base), folder, watch)
        with stopped():
            result, page = asyncio.run(job.go(command))
    if as_json:
        typer.echo(json.dumps(result))
        return
    typer.echo(table(result))
    watch.say(f"Report:  {page}")


def label_command(
    recipe: RecipeArgument, out: Out = None, model: Model = None, sets: Sets = None
) -> None:
    """Search the training tasks of RECIPE for values of steps; writes trees with Q columns."""
    told, base, folder = _recipe(recipe, out, model, sets, "label")
    from hornbeam.run import Watch, plan
    from hornbeam.run.label import Label

    watch = Watch()
    job = Label(told, plan(told, base), folder, watch)
    with stopped():
        result = asyncio.run(job.go())
    watch.say(
        f"{result['searched']} tasks searched by {result['runs']} runs in {result['seconds']} s;"
        f" {result['kept']} trees kept, {result['labels']} steps labelled"
    )
    watch.say(f"Trees:   {result['path']}")


def fit_command(
    recipe: RecipeArgument,
    trees: Annotated[list[Path], typer.Option("--trees", help="Labelled trees, JSON lines.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the fitted model.")],
    model: Model = None,
    column: Annotated[
        str | None, typer.Option("--column", help="Targets [q; reward for objective outcome].")
    ] = None,
    sets: Sets = None,
) -> None:
    """Fit a value head on labelled trees by section fit of RECIPE."""
    told, _, _ = _recipe(recipe, out, model, sets, "fit")
    from hornbeam.run import Watch
    from hornbeam.run.fit import fit
    from hornbeam.treefile import read_trees

    found: list[Any] = []
    for path in trees:
        if not path.is_file():
            raise DataError(f"{path}: no such file: `hornbeam label` writes trees.jsonl")
        found += read_trees(path)
    watch = Watch()
    name = column or ("reward" if told.fit.objective == "outcome" else "q")
    with stopped():
        result = fit(told, found, name, out, watch)
    watch.say(f"Fitted on {result['trees']} trees; {result['held_out']} held out:")
    for figure, value in result["after"].items():
        was = result["before"].get(figure)
        watch.say(f"  {figure:14} {value:8.4f}" + (f"  (before {was:.4f})" if was else ""))
    watch.say(f"Model:   {out}")


def _recipe(
    recipe: str, out: Path | None, model: str | None, sets: list[str] | None, command: str
) -> tuple[Any, Path, Path]:
    """(recipe with the model given, its folder, the run folder)."""
    from hornbeam.cli.recipes import find
    from hornbeam.run.recipe import load_recipe

    path = find(recipe)
    changes = [*(sets or []), *([f"model.name={json.dumps(model)}"] if model else [])]
    told = load_recipe(path, changes)
    quiet()
    threads(told.run.threads)
    return told, path.parent, out or Path("runs") / f"{path.stem}-{command}"


def _console(silent: bool) -> Any:
    """Where progress goes: to the screen, or away when it is JSON that is wanted there."""
    from rich.console import Console

    return Console(stderr=True) if silent else Console()
