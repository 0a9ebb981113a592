"""`hornbeam replay`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from hornbeam.cli.job_setup import (
    RecipeArgument,
    Sets,
    recipe_from_options,
    results_alone,
)
from hornbeam.files.terminal import tell, to_stderr


def replay_command(
    recipe: RecipeArgument,
    count: Annotated[int, typer.Option("--tasks", min=1, help="Training tasks that are run.")] = 2,
    model: Annotated[
        str | None,
        typer.Option("--model", help="Weights to run.", show_default="the recipe's"),
    ] = None,
    sets: Sets = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run the program of RECIPE and fork it at every step: does it repeat its own path?"""
    loaded, base, _ = recipe_from_options(recipe, None, model, sets, "replay")
    from rich.console import Console

    from hornbeam.assembly.progress import Progress
    from hornbeam.jobs.replay.replay_check import check_replay

    seen = Progress(Console(stderr=True))
    with results_alone():
        found = check_replay(loaded, base, count, seen, to_stderr)
    if as_json:
        tell(json.dumps(asdict(found)))
    else:
        failed = f", {found.failed} of them failed" if found.failed else ""
        worlds = f", {found.worlds} without their world" if found.worlds else ""
        forks = f"{found.forks} forks, {found.diverged} diverged{worlds}"
        tell(f"{found.tasks} runs{failed}; {forks}")
        if found.first is not None:
            task, step, error = found.first
            tell(f"The first: task {task}, fork behind step {step}: {error}")
        for line in filter(None, (found.kept(), found.ignored())):
            tell(line)
    if found.wrong or found.failed:
        raise typer.Exit(1)
