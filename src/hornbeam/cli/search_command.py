"""`hornbeam search`."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from hornbeam.cli.job_setup import (
    Model,
    RecipeArgument,
    Sets,
    loading,
    recipe_from_options,
    results_alone,
    stopped,
)
from hornbeam.files.paths import check_file
from hornbeam.files.terminal import tell, to_stderr

Out = Annotated[
    Path | None, typer.Option("--out", help="Run folder.", show_default="runs/NAME-search")
]


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
    loaded, base, folder = recipe_from_options(recipe, out, model, sets, "search")
    from hornbeam.assembly.progress import Progress
    from hornbeam.jobs.preparation import threads
    from hornbeam.jobs.search.answer_pool import read_pool, search_pool
    from hornbeam.jobs.search.readout import table, write_result
    from hornbeam.jobs.search.search_job import search

    progress = Progress(_console(as_json))
    progress.say(f"Run folder: {folder}")
    command = "hornbeam " + " ".join(sys.argv[1:])
    if pool is not None:
        check_file(pool, "`hornbeam export` writes one")
        loading()
        threads(loaded.run.threads)
        with stopped():
            result = asyncio.run(search_pool(loaded, read_pool(pool), progress, command))
        page = write_result(result, folder)
    else:
        with stopped(), results_alone(as_json):
            result, page = search(loaded, base, folder, progress, to_stderr, command)
    if as_json:
        tell(json.dumps(result))
        return
    tell(table(result))
    progress.say(f"Report:  {page}")


def _console(silent: bool) -> Any:
    """Where progress goes: to the screen, or away when it is JSON that is wanted there."""
    from rich.console import Console

    return Console(stderr=True) if silent else Console()
