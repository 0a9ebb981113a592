"""A training job from its recipe to its page, in one process or as one of several ranks.

What needs no weights is made before all that is slow to import, and what a warm start is to show is
held against the chat templates before weights are loaded.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hornbeam.assembly.loading import load_policies, say_templates
from hornbeam.assembly.plan import Plan, plan
from hornbeam.assembly.progress import Progress
from hornbeam.assembly.recipe_files import check_files
from hornbeam.assembly.teachers import fetch_teachers
from hornbeam.jobs.event_loop import run_loop
from hornbeam.jobs.preparation import Say, loading, quiet, weights_of
from hornbeam.jobs.recipe_checks import check, check_training, fetch
from hornbeam.jobs.train.warm_start import check_rows
from hornbeam.recipe.recipe import Recipe
from hornbeam.store.checkpoints import latest
from hornbeam.workers.parent import LAUNCHER

if TYPE_CHECKING:
    from hornbeam.train.ranks import Ranks


def check_recipe(recipe: Recipe, base: Path, deep: bool = False) -> list[str]:
    """Check what training reads, with `deep` every file whole; lines on what others would read."""
    others = check_files(recipe, base, "train", "weights", deep=deep)
    check(recipe)
    return others


def launched() -> bool:
    """Whether another process of ours started this one, as a rank, and has said what it runs."""
    return LAUNCHER in os.environ


def ready(
    recipe: Recipe, base: Path, folder: Path, policy: str | None, progress: Progress, say: Say
) -> Plan | None:
    """What the job is about, made and checked, its models pulled and torch imported.

    None on a rank that follows another. `say` hears of what is loaded.
    """
    check_training(recipe, policy)
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    shown = not recipe.run.steps and recipe.sft is not None and recipe.sft.data != ""
    needs = [] if shown else ["train"]  # a warm start alone, on a set, has no use for tasks
    follows = several and os.environ.get("RANK", "0") != "0"
    made = None if follows else plan(recipe, base, needs)
    if made is not None:
        first = not launched()
        if first:
            progress.say(f"Run folder: {folder}")
        fetch(recipe, progress.say)
        fetch_teachers(recipe, progress.say)
        if first:
            loading(say, *weights_of(recipe))
    quiet()
    if made is not None and latest(folder / "checkpoints") is None:
        check_rows(recipe, made)
    return made


def train(
    recipe: Recipe,
    made: Plan,
    folder: Path,
    progress: Progress,
    policy: str | None = None,
    group: Ranks | None = None,
) -> Path:
    """Run the loop in this process; with a `group`, over its ranks. The path of the page.

    With a `policy` only that one is trained here. What was trained before is not trained again.
    """
    from hornbeam.jobs.train.rank_processes import lead
    from hornbeam.jobs.train.training import Run, Trainer

    for source in [*made.train.sources, *(f"held out: {line}" for line in made.eval.sources)]:
        progress.say(source)
    run: Any = (
        Run(recipe, made, folder, progress, load_policies if group is None else lead(group))
        if policy is None
        else Trainer(recipe, made, folder, progress, policy, group)
    )
    say_templates(run.parts.policies, progress.say)
    page: Path = run_loop(run.go())
    progress.say(f"Weights: {folder / 'final' / (policy or '')}")
    progress.say(f"Report:  {page}")
    return page
