"""`hornbeam eval processbench`: figures of predictions that were made elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from hornbeam.score.processbench import (
    Figures,
    by_final_answer,
    by_split,
    mean_f1,
    official,
    read_predictions,
)

GROUPINGS = {"official": official, "by_final_answer": by_final_answer}
TITLES = {
    "official": "Grouped by the first wrong step (official)",
    "by_final_answer": "Grouped by the final answer",
}


def processbench_command(
    predictions: Annotated[
        Path,
        typer.Option(
            "--predictions", metavar="FILE", help="Lines of id, split, label, prediction."
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score predictions of first wrong steps as ProcessBench does; null is never right.

    A line is {"id": ..., "split": ..., "label": gold, "prediction": index, -1 or null}. Where all
    lines tell `final_answer_correct`, the grouping by final answer stands beside the official one.
    """
    items = read_predictions(predictions)
    told = {
        name: by_split(items, how)
        for name, how in GROUPINGS.items()
        if all(how(item) is not None for item in items)
    }
    if as_json:
        typer.echo(json.dumps({"count": len(items)} | {n: _record(s) for n, s in told.items()}))
        return
    for number, (name, splits) in enumerate(told.items()):
        typer.echo("\n" * bool(number) + _table(TITLES[name], splits))
    if len(told) < len(GROUPINGS):
        typer.echo("\nNo line or not all tell final_answer_correct: no grouping by final answer.")


def _record(splits: dict[str, Figures]) -> dict[str, object]:
    return {"splits": {n: s.to_json() for n, s in splits.items()}, "mean_f1": mean_f1(splits)}


def _table(title: str, splits: dict[str, Figures]) -> str:
    """One line a split, percentages with one digit as the official script prints them."""
    lines = [title, f"{'split':<16}{'items':>7}{'error acc':>11}{'correct acc':>13}{'f1':>7}"]
    for name, found in splits.items():
        accuracies = f"{_one(found.error_accuracy):>11}{_one(found.correct_accuracy):>13}"
        lines.append(f"{name:<16}{found.errors + found.corrects:>7}{accuracies}{_one(found.f1):>7}")
    if len(splits) > 1:
        lines.append(f"{'mean':<47}{_one(mean_f1(splits)):>7}")
    return "\n".join(lines)


def _one(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
