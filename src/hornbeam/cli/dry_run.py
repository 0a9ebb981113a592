"""`hornbeam train --dry-run`: what a run takes, and with --all every setting of its recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hornbeam.files.terminal import tell

if TYPE_CHECKING:
    from hornbeam.recipe.recipe import Recipe


def print_estimate(
    recipe: Recipe, base: Path, gpu: str, gpus: int, episode: int | None, settings: bool
) -> None:
    """Print what the run takes, as comments; behind it the resolved recipe, where `settings`."""
    from hornbeam.jobs.train.estimates.run_estimate import estimate
    from hornbeam.jobs.train.train_job import check_recipe
    from hornbeam.recipe.toml import show

    others = check_recipe(recipe, base, deep=True)
    tell(estimate(recipe, base, gpu, gpus, episode))
    for line in others:
        tell(f"# not here, and not read by train: {line}")
    tell(f"\n{show(recipe)}" if settings else "# every setting of the recipe: add --all")
