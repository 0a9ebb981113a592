"""What the commands that run a job share: their recipe, what it names, threads, a clean stop."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from hornbeam.files.terminal import tell, to_stderr

if TYPE_CHECKING:
    from hornbeam.assembly.plan import Plan
    from hornbeam.recipe.recipe import Recipe

RecipeArgument = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe: file or name.")]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key, as grow.n=4.")
]
Model = Annotated[str | None, typer.Option("--model", help="Weights.", show_default="the recipe's")]


def recipe_from_options(
    recipe: str, out: Path | None, model: str | None, sets: list[str] | None, command: str
) -> tuple[Any, Path, Path]:
    """(recipe with the model given, its folder, the run folder)."""
    from hornbeam.cli.recipes_command import find
    from hornbeam.jobs.recipe_checks import check

    path = find(recipe)
    loaded = loaded_recipe(path, sets or [])
    loaded = loaded.with_weights(model) if model else loaded
    check(loaded)
    return loaded, path.parent, out or Path("runs") / f"{path.stem}-{command}"


def loaded_recipe(path: Path, sets: Sequence[str] = ()) -> Recipe:
    """The recipe of a file; a line names the code that it brings before any of it runs."""
    from hornbeam.recipe.own_names import code_line
    from hornbeam.recipe.recipe import load_recipe
    from hornbeam.workers.parent import LAUNCHER

    recipe, line = load_recipe(path, sets), ""
    if LAUNCHER not in os.environ and os.environ.get("RANK", "0") == "0":  # else it is said
        line = code_line(recipe)
    if line:
        to_stderr(line)
    return recipe


def planned(
    recipe: Recipe, base: Path, reference: str | None = None, tasks: Sequence[str] = ("train",)
) -> Plan:
    """What the recipe names, made, as `jobs.preparation` does it; what it tells is on stderr."""
    from hornbeam.jobs.preparation import planned as prepared

    return prepared(recipe, base, to_stderr, reference, tasks)


@contextmanager
def results_alone(wanted: bool = True) -> Iterator[None]:
    """Standard output is for results: what is printed inside goes to standard error.

    By programs, tools and rewards of a run, and by processes that they start; a MiB of it each.
    """
    if not wanted:
        yield
        return
    from hornbeam.workers.bounded_output import BoundedText, pass_on

    own = sys.stdout is sys.__stdout__ and sys.stdout is not None
    if own:
        sys.stdout.flush()
        kept = os.dup(1)
        read, write = os.pipe()
        os.dup2(write, 1)
        os.close(write)
        printed = pass_on(read, 2, "processes of programs and tools")
    out: Any = BoundedText(sys.stderr, always=True)
    err: Any = BoundedText(sys.stderr, always=False)
    try:
        with redirect_stdout(out), redirect_stderr(err):
            yield
    finally:
        if own:
            os.dup2(kept, 1)
            os.close(kept)
            printed.join(1.0)  # a process that was left behind may hold it open


@contextmanager
def stopped() -> Iterator[None]:
    """Ctrl-C inside ends the command with one line."""
    try:
        yield
    except KeyboardInterrupt:
        tell("\nStopped. What was grown is kept: the same command goes on from here.", err=True)
        raise typer.Exit(130) from None


def loading(*names: str) -> None:
    """Import what is slow to import; a line on stderr says so first, and whose weights follow."""
    from hornbeam.jobs.preparation import loading as load

    load(to_stderr, *names)


def leave() -> NoReturn:
    """End a rank whose work is written, at once.

    Left to itself it may be aborted as it ends ("terminate called without an active exception"): a
    thread of torch's process groups outlives what it works on.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
