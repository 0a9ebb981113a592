"""`hornbeam train`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hornbeam.cli.dry_run import print_estimate
from hornbeam.cli.job_setup import (
    RecipeArgument,
    Sets,
    leave,
    loaded_recipe,
    stopped,
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
from hornbeam.files.terminal import to_stderr

if TYPE_CHECKING:
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
    from hornbeam.jobs.train.train_job import check_recipe

    check_recipe(loaded, path.parent)
    if not resume and folder.exists() and any(folder.iterdir()):
        raise StoreError(f"{folder} exists: choose another --out, or leave --no-resume out")
    _start(loaded, path.parent, folder, policy, ranks)


def _start(recipe: Recipe, base: Path, folder: Path, policy: str | None, ranks: int) -> None:
    """Train in this process, or with others: the first runs the loop, the others follow."""
    from hornbeam.assembly.progress import Progress
    from hornbeam.jobs.preparation import threads
    from hornbeam.jobs.train.train_job import launched, ready, train

    progress = Progress()
    made = ready(recipe, base, folder, policy, progress, to_stderr)
    from hornbeam.jobs.train.rank_processes import follow, launch, ranked

    if ranks > 1 and launch(sys.argv[1:], ranks):
        return
    with stopped(), ranked(recipe) as group:
        threads(recipe.run.threads)
        if group is None or group.leads:
            assert made is not None
            train(recipe, made, folder, progress, policy, group)
        else:
            follow(recipe, group)
    if group is not None and launched():
        leave()


def _recipe(path: Path, options: dict[str, Any], sets: Sequence[str] | None) -> Recipe:
    """The recipe with its changes, and with those that options of the command make."""
    given = [f"{key}={value}" for key, value in options.items() if value is not None]
    recipe = loaded_recipe(path, [*(sets or []), *given])
    asked = options.get("workers.growers") or options.get("workers.address")
    if recipe.workers.kind == "local" and asked:
        raise RecipeError("--growers and --address are Ray's: add --workers ray")
    return recipe
