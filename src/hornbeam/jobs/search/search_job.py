"""A search from its recipe to its page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hornbeam.assembly.progress import Progress
from hornbeam.jobs.event_loop import run_loop
from hornbeam.jobs.preparation import Say, planned
from hornbeam.jobs.recipe_checks import check_search
from hornbeam.jobs.search.run_search import Search
from hornbeam.recipe.recipe import Recipe


def search(
    recipe: Recipe, base: Path, folder: Path, progress: Progress, say: Say, command: str = ""
) -> tuple[dict[str, Any], Path]:
    """Search the held-out tasks of a recipe: the result, and the path of its page.

    `say` hears of what is loaded, `command` stands on the page. Raises as its parts do.
    """
    check_search(recipe)
    job = Search(recipe, planned(recipe, base, say, tasks=["eval"]), folder, progress)
    return run_loop(job.go(command))
