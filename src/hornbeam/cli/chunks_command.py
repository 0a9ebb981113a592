"""`hornbeam chunks` and `hornbeam select`: SFT sets of the policy's own correct answers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from hornbeam.cli.credit_command import write
from hornbeam.cli.job_setup import (
    Model,
    RecipeArgument,
    Sets,
    loading,
    planned,
    recipe_from_options,
    stopped,
)
from hornbeam.errors import DataError
from hornbeam.files.terminal import tell

Out = Annotated[Path, typer.Option("--out", help="The set to write, JSON lines.")]


def chunks_command(
    recipe: RecipeArgument,
    out: Out,
    run: Annotated[
        Path | None,
        typer.Option("--run", help="Run folder of the answers.", show_default="runs/NAME-chunks"),
    ] = None,
    model: Model = None,
    sets: Sets = None,
) -> None:
    """Answer the training tasks of RECIPE; write the correct answers cut into tagged chunks."""
    loaded, base, folder = recipe_from_options(recipe, run, model, sets, "chunks")
    from hornbeam.assembly.progress import Progress
    from hornbeam.jobs.chunks.chunk_set import Chunks

    progress = Progress()
    job = Chunks(loaded, planned(loaded, base), folder, progress)
    with stopped():
        lines, counts = asyncio.run(job.go())
    write(lines, out)
    left = (
        f"; {counts['left_out']} left out: cut short, or with tags in them"
        if counts["left_out"]
        else ""
    )
    progress.say(
        f"{counts['correct']} of {counts['answers']} answers are correct, to {counts['tasks']}"
        f" tasks{left}"
    )
    progress.say(f"Set:     {out} ({len(lines)} lines, {counts['chunks']} chunks)")


def select_command(
    trees: Annotated[Path, typer.Argument(metavar="TREES", help="Grown trees, JSON lines.")],
    out: Out,
    column: Annotated[
        str | None, typer.Option("--column", help="Scores of steps, such as value.")
    ] = None,
    by: Annotated[
        str, typer.Option("--by", help="Of a task: the best score, a random outcome, or all.")
    ] = "score",
    where: Annotated[
        list[str] | None,
        typer.Option(
            help='What a leaf must have, of its columns, turns and tokens: "reward>=0.5".',
            show_default="reward>=1",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of --by outcome.")] = 0,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            help="What the trees were grown by.",
            show_default="recipe.toml beside TREES",
        ),
    ] = None,
    model: Model = None,
    sets: Sets = None,
) -> None:
    """Choose correct answers, one a task by the mean score of its steps, and write an SFT set."""
    from hornbeam.jobs.select.selection import Where, by_texts, choose, set_of
    from hornbeam.tree.jsonl import read_trees

    if by not in ("score", "outcome", "all"):
        raise DataError(f"--by {by}: score, outcome or all")
    if by == "score" and column is None:
        raise DataError("--by score needs --column, the scores of steps, such as value")
    chosen, counts = choose(read_trees(trees), column, by, seed, [*map(Where.of, where or ())])
    beside = trees.parent / "recipe.toml"
    foreign = all(by_texts(tree) for tree, _ in chosen)
    if recipe is None and not beside.is_file() and not foreign:
        raise DataError(
            f"{trees}: no recipe.toml beside it: add --recipe with the recipe that these trees were"
            " grown by: its program gives the prompts"
        )
    if foreign:  # what was asked stands in the trees
        if recipe is not None or model is not None or sets:
            raise DataError(f"{trees}: trees of text hold their prompts: leave --recipe out")
        lines = asyncio.run(set_of(None, trees.parent, chosen, tell))
    else:
        loaded, base, _ = recipe_from_options(recipe or str(beside), out, model, sets, "select")
        loading()
        lines = asyncio.run(set_of(loaded, base, chosen, tell))
    write(lines, out)
    tell(
        f"{counts['chosen']} of {counts['answers']} {'matching' if where else 'correct'} answers"
        f" chosen{'' if by == 'all' else ', one a task'}; {counts['unsolved']} tasks without one"
        " are left out"
        + (f", {counts['unscored']} whose answers have no score too" if counts["unscored"] else "")
    )
    tell(f"Set:     {out} ({len(lines)} lines)")
