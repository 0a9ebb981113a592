"""`hornbeam train --dry-run`: what a run takes, and with --all every setting of its recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from hornbeam.recipe.recipe import Recipe


def checked(recipe: Recipe, base: Path, deep: bool) -> list[str]:
    """Check what training reads, with `deep` every file whole; lines on what others would read."""
    from hornbeam.assembly.recipe_files import check_files
    from hornbeam.jobs.recipe_checks import check

    others = check_files(recipe, base, "train", "weights", deep=deep)
    check(recipe)
    return others


def print_estimate(
    recipe: Recipe, base: Path, gpu: str, gpus: int, episode: int | None, settings: bool
) -> None:
    """Print what the run takes, as comments; behind it the resolved recipe, where `settings`."""
    from hornbeam.jobs.train.estimates.run_estimate import estimate
    from hornbeam.recipe.toml import show

    others = checked(recipe, base, deep=True)
    typer.echo(estimate(recipe, base, gpu, gpus, episode))
    for line in others:
        typer.echo(f"# not here, and not read by train: {line}")
    typer.echo(f"\n{show(recipe)}" if settings else "# every setting of the recipe: add --all")
