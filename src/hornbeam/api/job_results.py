"""What jobs called from Python give back: their figures and where the rest lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from hornbeam.stats import between, named
from hornbeam.store.database import Store
from hornbeam.tree.nodes import Tree, canonical


@dataclass(frozen=True, slots=True)
class Accuracy:
    """A figure on held-out tasks: `value` with its 95 % `interval`, over so many answers.

    `figure` says what it is: "accuracy", or "mean reward" where rewards are not 0 or 1. `row` is
    all that was measured.
    """

    value: float
    interval: tuple[float, float] | None
    count: int
    figure: str
    row: Mapping[str, Any]

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Accuracy:
        """The figure of a row of metrics."""
        low_high = row.get("interval")
        ends = (float(low_high[0]), float(low_high[1])) if low_high else None
        return cls(float(row["accuracy"]), ends, int(row["count"]), named(row)[0], dict(row))

    def __str__(self) -> str:
        name, value = named(self.row)
        return f"{name} {value}{between(self.row)} of {self.count}"


@dataclass(frozen=True, slots=True)
class TrainResult:
    """A training run: `metrics` are its rows, `cost` what was paid in all, by kind.

    `eval` is the last evaluation (None without held-out tasks), `model` the folder of the last
    weights, one below it for each of several policies, `page` the report.
    """

    folder: Path
    model: Path
    page: Path
    metrics: list[dict[str, Any]]
    eval: Accuracy | None
    cost: dict[str, float]

    @classmethod
    def of(cls, folder: Path, page: Path) -> TrainResult:
        """What a run left in its folder."""
        with Store(folder, read_only=True) as store:
            rows, cost = store.metrics(), store.totals()
        looks = [row for row in rows if row["kind"] == "eval"]
        held_out = Accuracy.of(looks[-1]) if looks else None
        return cls(folder, folder / "final", page, rows, held_out, cost)

    def trees(self, step: int | None = None, stage: str = "train") -> list[Tree]:
        """The trees of a step, or of all steps; of `stage` "train", "eval", "start" and others."""
        return stored_trees(self.folder, stage, step)

    def __str__(self) -> str:
        steps = sum(row["kind"] == "train" for row in self.metrics)
        held_out = f"; held-out {self.eval}" if self.eval else ""
        return f"trained {steps} steps{held_out}; weights: {self.model}"

    def _repr_html_(self) -> str:
        looks = [Accuracy.of(row) for row in self.metrics if row["kind"] == "eval"]
        rows = [
            (f"{look.row.get('stage', '')} {look.row['step']}".strip(), str(look)) for look in looks
        ]
        return html_table([*rows, *paths_of(self)])


def stored_trees(folder: Path, stage: str, step: int | None = None) -> list[Tree]:
    """The trees of a stage in a run folder, in canonical order."""
    with Store(folder, read_only=True) as store:
        return [canonical(store.read(key).tree) for key in store.keys(stage, step)]


def paths_of(result: Any) -> list[tuple[str, str]]:
    """The paths of a result, by what lies there."""
    names = ("model", "page", "folder")
    return [(name, str(getattr(result, name))) for name in names if hasattr(result, name)]


def html_table(rows: list[tuple[str, str]]) -> str:
    """Rows of a name and a text, as a notebook shows them."""
    cells = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th>"
        f"<td style='text-align:left'>{escape(text)}</td></tr>"
        for name, text in rows
    )
    return f"<table>{cells}</table>"
