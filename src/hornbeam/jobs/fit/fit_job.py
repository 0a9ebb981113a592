"""Fitting a value model from a recipe and labelled trees to its folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hornbeam.assembly.progress import Progress
from hornbeam.jobs.preparation import Say, loading, threads
from hornbeam.recipe.recipe import Recipe
from hornbeam.tree.nodes import Tree


def fit_recipe(
    recipe: Recipe,
    trees: Sequence[Tree],
    out: Path,
    progress: Progress,
    say: Say,
    column: str | None = None,
) -> dict[str, Any]:
    """Fit by section fit of a recipe on a column, "q" or "reward" by its objective; the figures.

    `say` hears of what is loaded. Raises as `fit` does.
    """
    loading(say, recipe.model.name)
    threads(recipe.run.threads)
    from hornbeam.jobs.fit.run_fit import fit

    name = column or ("reward" if recipe.fit.objective == "outcome" else "q")
    result = fit(recipe, trees, name, out, progress)
    kept_out = f"; {result['held_out']} held out:" if result["held_out"] else ""
    progress.say(f"Fitted on {result['trees']} trees{kept_out}")
    for figure, value in result["after"].items():
        was = result["before"].get(figure)
        progress.say(f"  {figure:14} {value:8.4f}" + (f"  (before {was:.4f})" if was else ""))
    progress.say(f"Model:   {out}")
    return result
