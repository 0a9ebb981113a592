"""What jobs called from Python give back: their figures and where the rest lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from hornbeam.assembly.failed_episodes import all_failed
from hornbeam.assembly.step_costs import account
from hornbeam.errors import ProgramError
from hornbeam.jobs.search.readout import table
from hornbeam.jobs.service.outcome import Outcome
from hornbeam.stats import between, named
from hornbeam.store.database import Store
from hornbeam.tree.jsonl import read_trees
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
    """A training run: `metrics` are its rows, `cost` what was paid, by kind; what a stop
    made necessary again is in `cost` as `redone_KIND`.

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
            rows, cost = store.metrics(), account(store)
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


@dataclass(frozen=True, slots=True)
class SearchResult:
    """A search: `metrics` has a row for each point of each method, `cost` as of a run.

    `result` is all that stands on the `page`.
    """

    folder: Path
    page: Path
    metrics: list[dict[str, Any]]
    cost: dict[str, float]
    result: Mapping[str, Any]

    @classmethod
    def of(cls, folder: Path, page: Path, result: Mapping[str, Any]) -> SearchResult:
        """What a search found, and left in its folder."""
        rows = [
            {"method": method["name"], **point}
            for method in result["methods"]
            for point in method["points"]
        ]
        with Store(folder, read_only=True) as store:
            return cls(folder, page, rows, account(store), result)

    def trees(self, method: str = "") -> list[Tree]:
        """The trees that a method grew; of several that only sample all read those of "pool"."""
        return stored_trees(self.folder, None, of=method)

    def __str__(self) -> str:
        return table(dict(self.result))

    def _repr_html_(self) -> str:
        rows = [
            (f"{row['method']} {row['label']}".strip(), _point(row, self.result))
            for row in self.metrics
        ]
        return html_table([*rows, *paths_of(self)])


def _point(row: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    shown = {**row, "figure": result.get("figure"), "interval": (row["low"], row["high"])}
    name, value = named(shown)
    return f"{name} {value}{between(shown)} for {row['total_tokens']:.0f} tokens"


@dataclass(frozen=True, slots=True)
class SolveResult:
    """One question's search: its `outcome` (cost, curve), and the `tree` that it grew."""

    outcome: Outcome
    tree: Tree

    @property
    def answer(self) -> Any:
        """The answer that was chosen, as the program returned it; None where there is none."""
        return self.outcome.answer

    def __str__(self) -> str:
        return self.outcome.text

    def _repr_html_(self) -> str:
        tokens = self.outcome.prompt + self.outcome.sampled
        rows = [("answer", self.outcome.text), ("search", self.outcome.name)]
        return html_table(
            [*rows, ("tokens", str(tokens)), ("episodes", str(self.outcome.episodes))]
        )


@dataclass(frozen=True, slots=True)
class EvalResult:
    """An evaluation: `eval` is its figure, `metrics` the row of all, `cost` what was paid."""

    eval: Accuracy
    metrics: list[dict[str, Any]]
    cost: dict[str, float]
    grown: list[Tree]

    @classmethod
    def of(cls, trees: list[Tree], row: Mapping[str, Any]) -> EvalResult:
        """What an evaluation measured. Raises `ProgramError` where all runs failed."""
        if fell := all_failed(trees):
            raise ProgramError(f"the evaluation: {fell}")
        return cls(Accuracy.of(row), [dict(row)], dict(row["costs"]), trees)

    def trees(self) -> list[Tree]:
        """A tree for each task."""
        return self.grown

    def __str__(self) -> str:
        return str(self.eval)

    def _repr_html_(self) -> str:
        return html_table([(self.eval.figure, str(self.eval))])


@dataclass(frozen=True, slots=True)
class LabelResult:
    """Labelled trees: `path` is their file, `metrics` one row of how many were kept."""

    folder: Path
    path: Path
    metrics: list[dict[str, Any]]
    cost: dict[str, float]

    @classmethod
    def of(cls, folder: Path, row: Mapping[str, Any]) -> LabelResult:
        """What a labelling kept."""
        return cls(folder, Path(row["path"]), [dict(row)], dict(row["costs"]))

    def trees(self) -> list[Tree]:
        """The trees that were kept, with their columns."""
        return list(read_trees(self.path))

    def __str__(self) -> str:
        row = self.metrics[0]
        return f"{row['kept']} trees kept, {row['labels']} steps labelled: {self.path}"

    def _repr_html_(self) -> str:
        return html_table([("labels", str(self)), *paths_of(self)])


@dataclass(frozen=True, slots=True)
class FitResult:
    """A fitted value model: the folder `model`, figures on held-out tasks `before` and `after`."""

    model: Path
    before: dict[str, float]
    after: dict[str, float]
    metrics: list[dict[str, Any]]

    @classmethod
    def of(cls, folder: Path, row: Mapping[str, Any]) -> FitResult:
        """What a fit gave."""
        return cls(folder, dict(row["before"]), dict(row["after"]), [dict(row)])

    def __str__(self) -> str:
        figures = [f"{name} {value:.4f}" for name, value in self.after.items()]
        return f"fitted on {self.metrics[0]['trees']} trees: {', '.join(figures)}; {self.model}"

    def _repr_html_(self) -> str:
        rows = [(n, f"{v:.4f} (before {self.before[n]:.4f})") for n, v in self.after.items()]
        return html_table([*rows, *paths_of(self)])


def stored_trees(
    folder: Path, stage: str | None, step: int | None = None, of: str = ""
) -> list[Tree]:
    """The trees of a stage (of all that begin with `of`) of a run folder, in canonical order."""
    with Store(folder, read_only=True) as store:
        keys = [key for key in store.keys(stage, step) if key.stage.startswith(of)]
        return [canonical(store.read(key).tree) for key in keys]


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
