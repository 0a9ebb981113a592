"""`hornbeam label`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from hornbeam.cli.credit_command import assignments, write
from hornbeam.cli.job_setup import Model, Sets, recipe_from_options, stopped
from hornbeam.errors import DataError, RecipeError
from hornbeam.files.terminal import to_stderr
from hornbeam.search.chunk_labels import apply, chunk_label, methods
from hornbeam.search.td_labels import TdLabels
from hornbeam.settings import build
from hornbeam.tree.jsonl import from_json, json_line, read_records, read_trees
from hornbeam.tree.nodes import Tree

TD = "td"
RULES = (*methods, TD)
Recorded = Annotated[
    str | None,
    typer.Option(
        "--trees",
        help="Label the runs of these trees, by rollouts from each step.",
        show_default="the recipe's training tasks",
    ),
]
Method = Annotated[
    str | None,
    typer.Option(
        "--method",
        help="Label by this strategy: mcts, rollouts or blame.",
        show_default="the recipe's",
    ),
]


def label_command(
    recipe: Annotated[
        str,
        typer.Argument(metavar="RECIPE|RULE", help=f"A recipe, or one of {', '.join(RULES)}."),
    ],
    file: Annotated[
        str | None, typer.Argument(metavar="FILE", help="With a RULE: tree lines; - is stdin.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Run folder; with a RULE a file.",
            show_default="runs/NAME-label; with a RULE stdout",
        ),
    ] = None,
    model: Model = None,
    sets: Sets = None,
    method: Method = None,
    trees: Recorded = None,
) -> None:
    """Search the training tasks of RECIPE for values of steps; writes trees with Q columns.

    With a RULE and a FILE only column "label" is added to trees that have column "q"; by td, Q
    itself, of trees with rewards and values of steps.
    """
    if file is not None or (recipe in RULES and not Path(recipe).exists()):
        if model is not None or method is not None or trees is not None:
            raise RecipeError(
                f"hornbeam label {recipe} FILE reads a file: it takes no --model, --method, --trees"
            )
        if file is None:
            raise DataError(f"hornbeam label {recipe}: name the file of trees too")
        write(labelled(recipe, sys.stdin if file == "-" else file, assignments(sets or [])), out)
        return
    loaded, base, folder = recipe_from_options(
        recipe, out, model, [*_by(recipe, method), *(sets or [])], "label"
    )
    recorded = _recorded(trees, loaded) if trees is not None else []
    from hornbeam.assembly.progress import Progress
    from hornbeam.jobs.label.label_job import label

    progress = Progress()
    progress.say(f"Run folder: {folder}")
    with stopped():
        label(loaded, base, folder, progress, to_stderr, recorded)


def _recorded(trees: str, recipe: Any) -> list[Tree]:
    """The trees whose runs are labelled. `RecipeError` or `DataError` where that cannot be."""
    if recipe.label.strategy not in ("rollouts", "blame"):
        raise RecipeError("label --trees goes by rollouts alone: add --method rollouts, or blame")
    if not (found := list(read_trees(sys.stdin if trees == "-" else trees))):
        raise DataError(f"{trees}: holds no trees")
    return found


def labelled(rule: str, source: str | TextIO, thresholds: Mapping[str, Any]) -> list[str]:
    """The lines of `source` with what a rule says of them added; nothing else changes."""
    td = build("label", {TD: TdLabels}, TD, thresholds) if rule == TD else None
    if td is None:
        chunk_label(rule, **thresholds)
    lines = []
    for where, record in read_records(source):
        try:
            tree = from_json(record)
            if td is not None:
                tree.columns.update(td.columns(tree))
            else:
                apply(tree, rule, thresholds)
        except DataError as error:
            raise DataError(f"{where}: {error}") from error
        lines.append(json_line({**record, "columns": tree.columns}))
    return lines


def _by(recipe: str, method: str | None) -> list[str]:
    """Changes that label by another strategy; the settings of the recipe's own then go."""
    from hornbeam.cli.recipes_command import find
    from hornbeam.recipe.recipe import load_recipe

    if method is None:
        return []
    loaded = load_recipe(find(recipe)).label
    if loaded.strategy == method:
        return []
    kept = {"tasks": loaded.tasks, "skip": loaded.skip}
    changes = [f"label.{name}={value}" for name, value in kept.items() if value is not None]
    return [f"label={{strategy={json.dumps(method)}}}", *changes]
