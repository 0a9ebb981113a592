"""Labelling steps from a recipe to the file of labelled trees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hornbeam.assembly.progress import Progress
from hornbeam.jobs.event_loop import run_loop
from hornbeam.jobs.label.run_label import Label
from hornbeam.jobs.preparation import Say, planned
from hornbeam.recipe.recipe import Recipe
from hornbeam.tree.nodes import Tree


def label(
    recipe: Recipe,
    base: Path,
    folder: Path,
    progress: Progress,
    say: Say,
    recorded: Sequence[Tree] = (),
) -> dict[str, Any]:
    """Label the training tasks of a recipe, or `recorded` runs; what was kept, and its costs.

    `say` hears of what is loaded. Raises as its parts do.
    """
    made = planned(recipe, base, say, tasks=[] if recorded else ["train"])
    result = run_loop(Label(recipe, made, folder, progress, recorded).go())
    progress.say(_outcome(result))
    if rule := recipe.label.chunk_label or ("blame" if recipe.label.strategy == "blame" else ""):
        progress.say(f"By {rule} {result['good']} steps are good, {result['bad']} bad")
    progress.say(
        f"Tokens:  {result['tokens_computed']:,.0f} computed (prompts and samples); every run from"
        f" its own prompt: {result['tokens_alone']:,.0f}, {result['times_cheaper']:.1f} times that"
    )
    progress.say(f"Trees:   {result['path']}")
    return result


def _outcome(result: Mapping[str, Any]) -> str:
    """What was searched, kept and labelled, in a line."""
    return (
        f"{result['searched']} tasks searched by {result['runs']} runs in {result['seconds']} s;"
        f" {result['kept']} trees kept, {result['labels']} steps labelled"
        + (f", {result['unknown']} steps without a Q" if result["unknown"] else "")
        + (f"; {result['tool_failure']}" if result.get("tool_failure") else "")
    )
