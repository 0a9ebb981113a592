"""What the commands that run a job share: their recipe, what it names, threads, a clean stop."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from hornbeam.assembly.plan import Plan
    from hornbeam.recipe.recipe import Recipe

RecipeArgument = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe: file or name.")]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key, as grow.n=4.")
]
Model = Annotated[str | None, typer.Option("--model", help="Weights.", show_default="the recipe's")]
UNTRAINED = (
    'model.name = "tiny" is untrained: its weights are random, and so are the results; name'
    " trained ones, as --model runs/tiny/final"
)


def recipe_from_options(
    recipe: str, out: Path | None, model: str | None, sets: list[str] | None, command: str
) -> tuple[Any, Path, Path]:
    """(recipe with the model given, its folder, the run folder)."""
    from hornbeam.cli.recipes_command import find
    from hornbeam.jobs.recipe_checks import check
    from hornbeam.recipe.recipe import load_recipe

    path = find(recipe)
    loaded = load_recipe(path, sets or [])
    loaded = loaded.with_weights(model) if model else loaded
    check(loaded)
    return loaded, path.parent, out or Path("runs") / f"{path.stem}-{command}"


def planned(
    recipe: Recipe, base: Path, reference: str | None = None, tasks: Sequence[str] = ("train",)
) -> Plan:
    """What the recipe names, made, its models pulled; only then comes what is slow to import.

    `reference` names the weights that speak, where those are not the recipe's; it is not pulled.
    `tasks` are those that the job cannot do without.
    """
    from hornbeam.assembly.plan import plan
    from hornbeam.jobs.recipe_checks import fetch

    made = plan(recipe, base, tasks)
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


def launched() -> bool:
    """Whether another process of ours started this one, as a rank, and has said what it runs."""
    from hornbeam.workers.parent import LAUNCHER

    return LAUNCHER in os.environ


def leave() -> NoReturn:
    """End a rank whose work is written, at once.

    Left to itself it may be aborted as it ends ("terminate called without an active exception"): a
    thread of torch's process groups outlives what it works on.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def quiet() -> None:
    """Keep the bars and hints of transformers off the screen."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
