"""`hornbeam train` and `eval`."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hornbeam.cli.options import (
    Address,
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
from hornbeam.errors import ProgramError, RecipeError, StoreError

if TYPE_CHECKING:
    from hornbeam.assembly.plan import Plan
    from hornbeam.assembly.progress import Progress
    from hornbeam.jobs.train.loop import TrainingLoop
    from hornbeam.recipe.recipe import Recipe

RecipeArgument = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe: file or name.")]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key, as grow.n=4.")
]
UNTRAINED = (
    'model.name = "tiny" is untrained: its weights are random, and so are the results; name'
    " trained ones, as --model runs/tiny/final"
)


def train_command(
    recipe: RecipeArgument,
    out: RunFolder = None,
    sets: Sets = None,
    resume: Resume = True,
    dry_run: DryRun = False,
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
    from hornbeam.assembly.recipe_files import check_files
    from hornbeam.jobs.recipe_checks import check

    others = check_files(loaded, path.parent, "train", "weights", deep=dry_run)
    check(loaded)
    if dry_run:
        from hornbeam.jobs.train.estimates.run_estimate import estimate

        typer.echo(estimate(loaded, path.parent, gpu, gpus, episode))
        for line in others:
            typer.echo(f"# not here, and not read by train: {line}")
        return
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
        progress.say(f"Run folder: {folder}")
        fetch(recipe, progress.say)
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
    run: TrainingLoop
    if policy is None:
        run = Run(recipe, made, folder, progress, load_policies if group is None else lead(group))
    else:
        run = Trainer(recipe, made, folder, progress, policy, group)
    say_templates(run.parts.policies, progress.say)
    page = asyncio.run(run.go())
    progress.say(f"Weights: {folder / 'final' / (policy or '')}")
    progress.say(f"Report:  {page}")


def eval_command(
    recipe: RecipeArgument,
    model: Annotated[
        str | None,
        typer.Option("--model", help="Weights to evaluate.", show_default="the recipe's"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Also write the trees as JSON lines.")
    ] = None,
    sets: Sets = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure RECIPE on its held-out tasks, greedily: accuracy, or the mean reward."""
    from hornbeam.cli.recipes_command import find
    from hornbeam.jobs.recipe_checks import check
    from hornbeam.recipe.recipe import load_recipe

    path = find(recipe)
    loaded = load_recipe(path, sets or [])
    loaded = loaded.with_weights(model) if model else loaded
    check(loaded)
    if not loaded.tasks.eval:
        raise RecipeError(f"{path.name}: tasks.eval is empty: name a source, as in [[tasks.eval]]")
    from rich.console import Console

    from hornbeam.assembly.progress import Progress
    from hornbeam.stats import between, named

    made = planned(loaded, path.parent)
    from hornbeam.assembly.failed_episodes import all_failed, failed_of
    from hornbeam.jobs.eval.evaluate import evaluate

    trees, result = asyncio.run(evaluate(loaded, made, progress=Progress(Console(stderr=True))))
    if out is not None:
        from hornbeam.tree.jsonl import write_trees

        write_trees(trees, out)
    if fell := all_failed(trees):
        raise ProgramError(f"the evaluation: {fell}")
    if as_json:
        typer.echo(json.dumps(result))
        return
    for source in made.eval.sources:
        typer.echo(source)
    failed = f"; {failed_of(result)}" if result["failed"] else ""
    name, value = named(result)
    share = result["cut_off"]
    cut = f", {100 * share:.1f} % of answers cut off at max_tokens" if share else ""
    typer.echo(f"{name} {value}{between(result)} of {result['count']}{cut}{failed}")


def planned(recipe: Recipe, base: Path, reference: str | None = None) -> Plan:
    """What the recipe names, made, its models pulled; only then comes what is slow to import.

    `reference` names the weights that speak, where those are not the recipe's; it is not pulled.
    """
    from hornbeam.assembly.plan import plan
    from hornbeam.jobs.recipe_checks import fetch

    made = plan(recipe, base)
    names = weights_of(recipe) if reference is None else [reference]
    if reference is None:
        fetch(recipe, lambda line: typer.echo(line, err=True))
        if "tiny" in names:
            typer.echo(f"warning: {UNTRAINED}", err=True)
    loading(*names)
    threads(recipe.run.threads)
    return made


@contextmanager
def stopped() -> Iterator[None]:
    """Ctrl-C inside ends the command with one line."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(
            "\nStopped. What was grown is kept: the same command goes on from here.", err=True
        )
        raise typer.Exit(130) from None


def threads(count: int | None) -> None:
    """Let torch use so many threads."""
    if count is not None:
        import torch

        torch.set_num_threads(count)


def weights_of(recipe: Recipe) -> list[str]:
    """The names of the models by which policies speak here; none where a server has its own."""
    from hornbeam.assembly.engines import AWAY

    names = (
        [] if recipe.engine.kind in AWAY else [recipe.of(name).model.name for name in recipe.names]
    )
    return list(dict.fromkeys(names))


def loading(*names: str) -> None:
    """Import what is slow to import; a line on stderr says so first, and whose weights follow."""
    if "torch" not in sys.modules:
        what = f"{', '.join(names)} (torch, transformers)" if names else "torch, transformers"
        typer.echo(f"loading {what}", err=True)
    quiet()


def quiet() -> None:
    """Keep the bars and hints of transformers off the screen."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
