"""An evaluation from its recipe to its figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hornbeam.assembly.plan import Plan
from hornbeam.assembly.progress import Progress
from hornbeam.jobs.event_loop import run_loop
from hornbeam.jobs.preparation import Say, planned
from hornbeam.recipe.recipe import Recipe
from hornbeam.tree.nodes import Tree


def evaluate_recipe(
    recipe: Recipe, base: Path, progress: Progress, say: Say
) -> tuple[Plan, list[Tree], dict[str, Any]]:
    """(what the recipe names, grown trees, measures and costs) on its held-out tasks.

    `say` hears of what is loaded. Raises as its parts do.
    """
    made = planned(recipe, base, say, tasks=["eval"])
    from hornbeam.jobs.eval.evaluate import evaluate  # torch is there by now

    trees, result = run_loop(evaluate(recipe, made, progress=progress))
    return made, trees, result
