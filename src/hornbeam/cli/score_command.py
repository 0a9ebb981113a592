"""`hornbeam score`: a column on trees that were recorded anywhere."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hornbeam.cli.credit_command import assignments, write
from hornbeam.cli.job_setup import loaded_recipe, loading
from hornbeam.cli.processbench_command import only
from hornbeam.errors import DataError, RecipeError
from hornbeam.files.terminal import tell
from hornbeam.tree.jsonl import from_json, json_line, read_records

if TYPE_CHECKING:
    from hornbeam.jobs.score.score_trees import ScoreSummary, Scoring
    from hornbeam.recipe.recipe import Recipe
    from hornbeam.tree.nodes import Tree

COMMAND = "score"
REFUSED = 5  # trees that are named


Trees = Annotated[Path, typer.Argument(metavar="TREES", help="Trees, JSON lines.")]
Rule = Annotated[
    str | None, typer.Option("--rule", help="Reward answers by a rule: numeric, mine.py:score.")
]
Model = Annotated[
    str | None, typer.Option("--model", metavar="DIR", help="Value steps by a model of `fit`.")
]
Judge = Annotated[
    str | None,
    typer.Option("--judge", help="Judge steps: a recipe with a judge, or the judge's folder."),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", help="File to write.", show_default="none: say this, or --in-place"),
]
InPlace = Annotated[bool, typer.Option("--in-place", help="Replace TREES, once all is scored.")]
Name = Annotated[
    str | None,
    typer.Option("--column", help="Its name.", show_default="reward, value or judge"),
]
Replace = Annotated[
    bool, typer.Option("--replace", help="Where trees have such a column, write it anew.")
]
Answer = Annotated[
    str | None,
    typer.Option(
        "--answer",
        help="Of --rule: what of the last text is the answer, number or a regex of one group.",
        show_default="the tree's own answer",
    ),
]
Text = Annotated[
    bool, typer.Option("--text", help="Of --model: ids are made of texts, whatever is there.")
]
Asked = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Of the rule or judge, as votes=3."),
]
Device = Annotated[
    str | None, typer.Option("--device", help="Where weights lie, as cuda.", show_default="cpu")
]


def score_command(
    trees: Trees,
    rule: Rule = None,
    model: Model = None,
    judge: Judge = None,
    out: Out = None,
    in_place: InPlace = False,
    column: Name = None,
    replace: Replace = False,
    answer: Answer = None,
    text: Text = False,
    sets: Asked = None,
    device: Device = None,
) -> None:
    """Write a column on trees from anywhere: rewards by a rule, values by a model or a judge.

    Trees of text alone will do: a model reads them in its own ids, by its chat template. TREES is
    written only by --in-place, and then whole.
    """
    given: dict[str, object] = {"--rule": rule, "--model": model, "--judge": judge}
    given |= {"--answer": answer, "--text": text or None, "--set": sets, "--device": device}
    target, values = _target(trees, out, in_place), assignments(sets or [])
    how: Scoring | None = None
    name = "reward"
    if rule is not None:
        only(given, "--rule", "--answer", "--set", command=COMMAND)
        if column not in (None, name):
            raise DataError(f"{COMMAND}: --column {column}: a rule writes 'reward', as others read")
        from hornbeam.jobs.score.score_trees import ByRule

        how = ByRule.of(rule, values, answer or "")
    elif model is not None or judge is not None:
        only(given, *_beside(model), "--device", command=COMMAND)
        recipe, name = _recipe(model, judge, column, values, device)
    else:
        raise DataError(f"{COMMAND}: say by what: --rule NAME, --model DIR or --judge NAME")
    records, found, places = _read(trees)
    _free(name, found, places, replace)
    if how is None:
        loading(*_names(recipe))
        from hornbeam.jobs.score.score_trees import by_guide

        how = by_guide(recipe, name, text)
    lines, summary = _scored(how, name, records, found, places)
    write(lines, target)
    _print_summary(summary, name, how.what, target)


def _beside(model: str | None) -> tuple[str, ...]:
    """What names a guide, and the options that go with it."""
    return ("--judge", "--set") if model is None else ("--model", "--text")


def _print_summary(summary: ScoreSummary, name: str, what: str, target: Path) -> None:
    """What was scored, in a line; what was refused goes to stderr."""
    for line in summary.refused[:REFUSED]:
        tell(f"hornbeam score: refused: {line}", err=True)
    if len(summary.refused) > REFUSED:
        tell(f"hornbeam score: refused: {len(summary.refused) - REFUSED} more", err=True)
    tell(summary.line(name, what))
    tell(f"Trees:   {target}")


def _target(trees: Path, out: Path | None, in_place: bool) -> Path:
    """The file to write, looked at before anything is paid for."""
    if not trees.is_file():
        raise DataError(f"{trees}: no such file")
    if (out is None) != in_place:
        raise DataError(f"{COMMAND}: say --out FILE, or --in-place to replace {trees}")
    if out is None:
        return trees
    if out.exists() and out.resolve() == trees.resolve():
        raise DataError(f"{out}: is what is read: --in-place replaces it, or choose another --out")
    if out.is_dir() or not out.parent.is_dir():
        what = "is a folder" if out.is_dir() else f"there is no folder {out.parent}"
        raise DataError(f"{out}: {what}: name a file to write")
    return out


def _recipe(
    model: str | None,
    judge: str | None,
    column: str | None,
    values: Mapping[str, Any],
    device: str | None,
) -> tuple[Recipe, str]:
    """(a recipe whose guide scores, that guide's column)."""
    from hornbeam.cli.recipes_command import shipped
    from hornbeam.recipe.recipe import Recipe

    if judge is not None and (Path(judge).suffix == ".toml" or judge in shipped()):
        return _judge(judge, column, values, device)
    name = column or ("judge" if model is None else "value")
    guide = {"kind": "prm", "model": model} if judge is None else {"kind": "judge", "model": judge}
    data = {"guides": {name: {**guide, **values}}, "run": {"device": device or "cpu"}}
    return Recipe.model_validate(data), name


def _judge(
    recipe: str, column: str | None, values: Mapping[str, Any], device: str | None
) -> tuple[Recipe, str]:
    """(the recipe with its judge as the only guide, the column)."""
    from hornbeam.cli.recipes_command import find

    loaded = loaded_recipe(find(recipe))
    judges = {c: choice for c, choice in loaded.guides.items() if choice.kind == "judge"}
    if not judges:
        raise RecipeError(f'--judge {recipe}: it has no table [guides.NAME] of kind = "judge"')
    if len(judges) > 1 and column not in judges:
        raise RecipeError(f"--judge {recipe}: it has {', '.join(judges)}: say which by --column")
    guide = judges.get(column or "", next(iter(judges.values())))
    name = column or next(iter(judges))
    run = loaded.run.model_copy(update={} if device is None else {"device": device})
    guides = {name: guide.model_copy(update=dict(values))}
    return loaded.model_copy(update={"guides": guides, "run": run}), name


def _names(recipe: Recipe) -> list[str]:
    """The names of the guides' models that are loaded here, not asked at an address."""
    named = [str(choice.rest().get("model", "")) for choice in recipe.guides.values()]
    return [name for name in named if name and "://" not in name]


def _read(trees: Path) -> tuple[list[dict[str, Any]], list[Tree], list[str]]:
    """(the lines as they are, as trees, where each stands)."""
    records, found, places = [], [], []
    for where, record in read_records(trees):
        try:
            found.append(from_json(record))
        except DataError as error:
            raise DataError(f"{where}: {error}") from error
        records.append(record)
        places.append(where)
    return records, found, places


def _free(name: str, trees: list[Tree], places: list[str], replace: bool) -> None:
    """Raise `DataError` where a column with entries would be written over."""
    for tree, where in zip(trees, places):
        if not replace and any(v is not None for v in tree.columns.get(name, ())):
            also = "" if name == "reward" else ", or name another --column"
            raise DataError(f"{where}: it has a column {name!r}: --replace writes it anew{also}")


def _scored(
    how: Scoring,
    name: str,
    records: list[dict[str, Any]],
    trees: list[Tree],
    places: list[str],
) -> tuple[list[str], ScoreSummary]:
    """(the lines with the column, what was scored)."""
    from rich.console import Console

    from hornbeam.assembly.progress import Progress
    from hornbeam.jobs.score.score_trees import score_trees

    progress = Progress(Console(stderr=True))
    progress.begin("scoring", len(trees))
    try:
        columns, summary = asyncio.run(
            score_trees(how, trees, places, lambda done: progress.step(done, ""))
        )
    finally:
        progress.end()
    lines = []
    for record, tree, column in zip(records, trees, columns, strict=True):
        own = {name: [None] * len(tree), **({} if column is None else column)}
        held = {**tree.columns, **own}
        lines.append(json_line({**record, "columns": held}))
    return lines, summary
