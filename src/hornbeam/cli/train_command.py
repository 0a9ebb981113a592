"""`hornbeam train`."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hornbeam.cli.dry_run import checked, print_estimate
from hornbeam.cli.job_setup import (
    RecipeArgument,
    Sets,
    launched,
    leave,
    loading,
    quiet,
    stopped,
    threads,
    weights_of,
)
from hornbeam.cli.options import (
    Address,
    AllSettings,
    DryRun,
    Episode,
    Gpu,
    Gpus,
    Growers,
    Policy,
    Ranks,
    Resume,
    RunFolder,
    Shared,
    Workers,
)
from hornbeam.errors import RecipeError, StoreError

if TYPE_CHECKING:
    from hornbeam.assembly.plan import Plan
    from hornbeam.assembly.progress import Progress
    from hornbeam.recipe.recipe import Recipe


def train_command(
    recipe: RecipeArgument,
    out: RunFolder = None,
    sets: Sets = None,
    resume: Resume = True,
    dry_run: DryRun = False,
    settings: AllSettings = False,
    gpu: Gpu = "",
    gpus: Gpus = 0,
    episode: Episode = None,
    policy: Policy = None,
    store: Shared = None,
    workers: Workers = None,
    growers: Growers = None,
    address: Address = None,
    ranks: Ranks = 1,
) -> None:
    """Train by RECIPE: grow, credit, step, until done; goes on where it was stopped."""
    from hornbeam.cli.recipes_command import find

    path = find(recipe)
    options = {"run.store": store, "workers.kind": workers, "workers.growers": growers}
    options["workers.address"] = address
    loaded = _recipe(path, options, sets)
    if loaded.run.store and policy is None:
        raise RecipeError("run.store is what several processes share: name a --policy, or unset it")
    folder = out or Path("runs") / path.stem
    if dry_run:
        print_estimate(loaded, path.parent, gpu, gpus, episode, settings)
        return
    if settings:
        raise RecipeError("--all goes with --dry-run")
    checked(loaded, path.parent, deep=False)
    if not resume and folder.exists() and any(folder.iterdir()):
        raise StoreError(f"{folder} exists: choose another --out, or leave --no-resume out")
    _start(loaded, path.parent, folder, policy, ranks)


def _start(recipe: Recipe, base: Path, folder: Path, policy: str | None, ranks: int) -> None:
    """Train in this process, or with others: the first runs the loop, the others follow.

    The first makes what needs no weights, before all that is slow to import, and checks what the
    warm start is to show before weights are loaded.
    """
    from hornbeam.assembly.plan import plan
    from hornbeam.assembly.progress import Progress
    from hornbeam.jobs.recipe_checks import check_training, fetch
    from hornbeam.jobs.train.warm_start import check_rows
    from hornbeam.store.checkpoints import latest

    check_training(recipe, policy)
    progress, several = Progress(), int(os.environ.get("WORLD_SIZE", "1")) > 1
    made = None if several and os.environ.get("RANK", "0") != "0" else plan(recipe, base)
    if made is not None:
        first = not launched()
        if first:
            progress.say(f"Run folder: {folder}")
        fetch(recipe, progress.say)
        if first:
            loading(*weights_of(recipe))
    quiet()
    if made is not None and latest(folder / "checkpoints") is None:
        check_rows(recipe, made)
    from hornbeam.jobs.train.rank_processes import follow, launch, ranked

    if ranks > 1 and launch(sys.argv[1:], ranks):
        return
    with stopped(), ranked(recipe) as group:
        threads(recipe.run.threads)
        if group is None or group.leads:
            assert made is not None
            _train(recipe, made, folder, policy, group, progress)
        else:
            follow(recipe, group)
    if group is not None and launched():
        leave()


def _recipe(path: Path, options: dict[str, Any], sets: Sequence[str] | None) -> Recipe:
    """The recipe with its changes, and with those that options of the command make."""
    from hornbeam.recipe.recipe import load_recipe

    given = [f"{key}={value}" for key, value in options.items() if value is not None]
    recipe = load_recipe(path, [*(sets or []), *given])
    asked = options.get("workers.growers") or options.get("workers.address")
    if recipe.workers.kind == "local" and asked:
        raise RecipeError("--growers and --address are Ray's: add --workers ray")
    return recipe


def _train(
    recipe: Recipe, made: Plan, folder: Path, policy: str | None, group: Any, progress: Progress
) -> None:
    """Run the loop in this process; with a group, over its ranks."""
    from hornbeam.assembly.loading import load_policies, say_templates
    from hornbeam.jobs.train.rank_processes import lead
    from hornbeam.jobs.train.training import Run, Trainer

    for source in [*made.train.sources, *(f"held out: {line}" for line in made.eval.sources)]:
        progress.say(source)
    run = (
        Run(recipe, made, folder, progress, load_policies if group is None else lead(group))
        if policy is None
        else Trainer(recipe, made, folder, progress, policy, group)
    )
    say_templates(run.parts.policies, progress.say)
    page = asyncio.run(run.go())
    progress.say(f"Weights: {folder / 'final' / (policy or '')}")
    progress.say(f"Report:  {page}")
