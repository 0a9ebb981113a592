"""`hornbeam blame`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hornbeam.cli.job_setup import Model, Sets, results_alone, stopped
from hornbeam.cli.options import Shared
from hornbeam.errors import DataError
from hornbeam.files.terminal import tell, to_stderr

if TYPE_CHECKING:
    from hornbeam.jobs.blame.blame_options import BlameOptions

Tree = Annotated[
    str | None,
    typer.Option(
        "--tree",
        help="This tree: train/12/0; of a file its number or task id.",
        show_default="the newest with a failed run",
    ),
]
Leaf = Annotated[
    int | None,
    typer.Option(
        "--leaf", help="Its run that ends at this node.", show_default="the first that failed"
    ),
]
Every = Annotated[
    bool, typer.Option("--all-failed", help="All failed runs; they share the budget.")
]
Groups = Annotated[bool, typer.Option("--summary", help="Of --all-failed: groups alone, no run.")]
Stage = Annotated[
    str | None, typer.Option("--stage", help="Only trees of train, eval ...", show_default="all")
]
Forks = Annotated[int, typer.Option("--forks", help="The most new runs, of all.")]
Tokens = Annotated[
    int | None,
    typer.Option("--tokens", help="The most tokens that forks sample.", show_default="no limit"),
]
Success = Annotated[float, typer.Option("--success", help="A run failed with a reward below this.")]
Won = Annotated[
    bool, typer.Option("--won", help="The step that won a run, in one that did not fail.")
]
Guide = Annotated[
    str | None,
    typer.Option(
        "--guide",
        metavar="DIR",
        help="A value model, or a guide of the recipe, as prior.",
        show_default="none",
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Other forks.")]
Recipe = Annotated[
    str | None, typer.Option("--recipe", help="Its recipe.", show_default="the run's own")
]
Agent = Annotated[
    str | None, typer.Option("--agent", help="An agent's command.", show_default="the recipe's")
]
Out = Annotated[
    Path | None,
    typer.Option("--out", help="Folder that keeps the forks.", show_default="RUN/blame"),
]
Page = Annotated[Path | None, typer.Option("--page", help="Write a page.", show_default="none")]


def blame_command(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run folder, or trees as JSON lines.")
    ],
    tree: Tree = None,
    leaf: Leaf = None,
    every: Every = False,
    told: Groups = False,
    stage: Stage = None,
    forks: Forks = 128,
    tokens: Tokens = None,
    success: Success = 0.5,
    won: Won = False,
    guide: Guide = None,
    seed: Seed = 0,
    recipe: Recipe = None,
    agent: Agent = None,
    model: Model = None,
    sets: Sets = None,
    store: Shared = None,
    out: Out = None,
    page: Page = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Find the step that lost a failed run, by forks where they tell most; what did better.

    The forks are kept: the same command goes on from them, and pays for none again.
    """
    from hornbeam.cli.recipes_command import find
    from hornbeam.jobs.blame.blame_options import BlameOptions

    if told and not every:
        raise DataError("--summary: is of --all-failed, which looks at more than one run")
    if every and (tree is not None or leaf is not None):
        raise DataError("--all-failed looks at every failed run: leave --tree and --leaf out")
    options = BlameOptions(
        run, store, tree, leaf, every, stage, forks, tokens, success, won, guide, seed,
        find(recipe) if recipe is not None else None, agent, model, tuple(sets or ()), out,
    )  # fmt: skip
    records, folder = _blamed(options, page)
    _print(records, told, as_json)
    to_stderr(f"Forks: {folder}")


def _blamed(options: BlameOptions, page: Path | None) -> tuple[list[dict[str, Any]], Path]:
    """The records of what is found, and where the forks are kept; its page is written."""
    from rich.console import Console

    from hornbeam.assembly.progress import Progress
    from hornbeam.jobs.blame.blame_options import blame
    from hornbeam.jobs.blame.blame_report import record, summary
    from hornbeam.view.blame_page import write_blame

    with stopped(), results_alone():
        found, folder = blame(options, Progress(Console(stderr=True)), to_stderr)
    records = [record(each) for each in found]
    if page is not None:
        title = f"Blame of {options.run}"
        trees = [each.tree for each in found]
        to_stderr(f"Page: {write_blame(page, title, records, summary(records), trees)}")
    return records, folder


def _print(records: list[dict[str, Any]], told: bool, as_json: bool) -> None:
    """The records, or groups of them."""
    from hornbeam.jobs.blame.blame_report import lines, summary, summary_lines

    groups = summary(records)
    if as_json:
        tell(json.dumps(groups if told else {"summary": groups, "runs": records}))
        return
    parts = [] if told else ["\n".join(lines(each)) for each in records]
    if told or len(records) > 1:
        parts.append("\n".join(summary_lines(groups)))
    tell("\n\n".join(parts))
