"""The jobs of recipes as functions: each is given what a recipe says, and gives what it found.

Each is the very job of the command of its name: it keeps its run folder, page and ledger, and goes
on where it was stopped when it is called again with the same `out`. `progress` is told as the
command tells it. They work inside a running event loop too, as notebooks have one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Unpack

from hornbeam.api.job_results import (
    EvalResult,
    FitResult,
    LabelResult,
    SearchResult,
    TrainResult,
)
from hornbeam.api.python_recipe import Sections, recipe_from
from hornbeam.api.run_call import folder_given, run_folder, run_job
from hornbeam.api.task_arguments import rows_file, trees_of
from hornbeam.assembly.progress import Progress
from hornbeam.errors import ArgumentError
from hornbeam.recipe.recipe import Recipe


def train(
    program: Any,
    tasks: Any,
    *,
    model: Any = None,
    reward: Any = None,
    strategy: Any = None,
    credit: Any = None,
    tools: Any = None,
    eval_tasks: Any = None,
    out: str | Path | None = None,
    progress: bool = True,
    **sections: Unpack[Sections],
) -> TrainResult:
    """Train by a recipe made of these arguments (docs/python.md): `hornbeam train` from Python.

    Sections of a recipe are arguments, as dicts or settings; `strategy` is [grow], `steps` and
    `seed` are of [run]. `out` is the run folder, "runs/NAME" by default.
    """
    given: dict[str, Any] = {"program": program, "tasks": tasks, "model": model, "reward": reward}
    given |= {"strategy": strategy, "credit": credit, "tools": tools, "eval_tasks": eval_tasks}
    return _train("train", {**given, **sections}, out, progress)


def sft(
    data: Any = None,
    *,
    model: Any = None,
    program: Any = None,
    tasks: Any = None,
    eval_tasks: Any = None,
    out: str | Path | None = None,
    progress: bool = True,
    **sections: Unpack[Sections],
) -> TrainResult:
    """Fit a model to conversations, or to the demonstrations of a `program` on `tasks`.

    `data` is a file or a list of dicts as an SFT set has them (docs/formats.md). The settings are
    section `sft`, as in sft={"epochs": 2}. It is the warm start of a training run without steps.
    """
    given: dict[str, Any] = {"program": program, "tasks": tasks, "model": model}
    given |= {"eval_tasks": eval_tasks, "steps": 0, **sections}
    files: dict[str, str] = {}
    stage = recipe_from("hornbeam.sft", {"sft": given.get("sft") or {}}).data["sft"]
    if data is not None:
        path, files = rows_file(data, "hornbeam.sft: data")
        stage["data"] = path
    elif not stage.get("data") and tasks is None:
        raise ArgumentError(
            "hornbeam.sft takes data: a file or a list of conversations; or a program and tasks,"
            " whose demonstrations are shown"
        )
    return _train("sft", {**given, "sft": stage}, out, progress, files)


def _train(
    call: str, given: Mapping[str, Any], out: Any, progress: bool, files: Mapping[str, str] = {}
) -> TrainResult:
    from hornbeam.jobs.preparation import threads
    from hornbeam.jobs.train.train_job import check_recipe, ready
    from hornbeam.jobs.train.train_job import train as train_here

    asked = recipe_from(f"hornbeam.{call}", given)
    asked.files.update(files)
    folder = run_folder(call, out, asked)

    def job(recipe: Recipe, base: Path, seen: Progress) -> TrainResult:
        check_recipe(recipe, base)
        made = ready(recipe, base, folder, None, seen, seen.say)
        assert made is not None
        threads(recipe.run.threads)
        return TrainResult.of(folder, train_here(recipe, made, folder, seen))

    return run_job(job, asked, folder, progress)


def search(
    program: Any,
    tasks: Any,
    *,
    methods: Any = None,
    model: Any = None,
    reward: Any = None,
    tools: Any = None,
    out: str | Path | None = None,
    progress: bool = True,
    **sections: Unpack[Sections],
) -> SearchResult:
    """Search tasks by several methods; accuracy against cost: `hornbeam search` from Python.

    `methods` are those of section `search`, in a list, or by name: {"beam": {"strategy": "beam",
    "guides": ["value"]}, "one": Independent(n=1)}. `tasks` are only measured on, never learned
    from. `out` is the run folder, "runs/NAME-search" by default.
    """
    from hornbeam.jobs.recipe_checks import check
    from hornbeam.jobs.search.search_job import search as search_here

    given: dict[str, Any] = {"program": program, "eval_tasks": tasks, "model": model}
    given |= {"reward": reward, "tools": tools, "methods": methods, **sections}
    asked = recipe_from("hornbeam.search", given)
    folder = run_folder("search", out, asked)

    def job(recipe: Recipe, base: Path, seen: Progress) -> SearchResult:
        check(recipe)
        seen.say(f"Run folder: {folder}")
        result, page = search_here(recipe, base, folder, seen, seen.say, "hornbeam.search(...)")
        seen.say(f"Report:  {page}")
        return SearchResult.of(folder, page, result)

    return run_job(job, asked, folder, progress)


def evaluate(
    program: Any,
    tasks: Any,
    *,
    model: Any = None,
    reward: Any = None,
    tools: Any = None,
    progress: bool = True,
    **sections: Unpack[Sections],
) -> EvalResult:
    """Measure a model on tasks, greedily, one run each: `hornbeam eval` from Python.

    Raises `ProgramError` where all runs failed for one cause.
    """
    from hornbeam.jobs.eval.eval_job import evaluate_recipe
    from hornbeam.jobs.recipe_checks import check

    given: dict[str, Any] = {"program": program, "eval_tasks": tasks, "model": model}
    asked = recipe_from(
        "hornbeam.evaluate", {**given, "reward": reward, "tools": tools, **sections}
    )

    def job(recipe: Recipe, base: Path, seen: Progress) -> EvalResult:
        check(recipe)
        _, trees, row = evaluate_recipe(recipe, base, seen, seen.say)
        return EvalResult.of(trees, row)

    return run_job(job, asked, None, progress)


def label(
    program: Any,
    tasks: Any = None,
    *,
    trees: Any = None,
    strategy: Any = None,
    model: Any = None,
    reward: Any = None,
    tools: Any = None,
    out: str | Path | None = None,
    progress: bool = True,
    **sections: Unpack[Sections],
) -> LabelResult:
    """Search tasks for the values of steps: `hornbeam label` from Python.

    `strategy` is that of section `label`: "mcts", "rollouts" or "blame", or settings of one. With
    `trees`, a list or a file of recorded ones, their own runs are labelled, by the last two.
    """
    from hornbeam.jobs.label.label_job import label as label_here
    from hornbeam.jobs.recipe_checks import check

    given: dict[str, Any] = {"program": program, "tasks": tasks, "model": model, "reward": reward}
    given |= {"tools": tools, "label_strategy": strategy, **sections}
    asked = recipe_from("hornbeam.label", given)
    folder = run_folder("label", out, asked)
    recorded = trees_of(trees, "hornbeam.label: trees") if trees is not None else []
    if recorded and asked.recipe.label.strategy not in ("rollouts", "blame"):
        raise ArgumentError(
            'hornbeam.label: trees go by rollouts alone: strategy="rollouts", or "blame"'
        )

    def job(recipe: Recipe, base: Path, seen: Progress) -> LabelResult:
        check(recipe)
        seen.say(f"Run folder: {folder}")
        return LabelResult.of(folder, label_here(recipe, base, folder, seen, seen.say, recorded))

    return run_job(job, asked, folder, progress)


def fit(
    trees: Any,
    *,
    out: str | Path,
    model: Any = None,
    column: str | None = None,
    progress: bool = True,
    **sections: Unpack[Sections],
) -> FitResult:
    """Fit a value model on a `column` of labelled trees: `hornbeam fit` from Python.

    `trees` is a list of them, a file or several; the column is "q", or "reward" where
    fit={"objective": "outcome"}.
    """
    from hornbeam.jobs.fit.fit_job import fit_recipe
    from hornbeam.jobs.recipe_checks import check

    asked = recipe_from("hornbeam.fit", {"model": model, **sections})
    found = trees_of(trees, "hornbeam.fit")
    folder = folder_given("hornbeam.fit: out", out)

    def job(recipe: Recipe, base: Path, seen: Progress) -> FitResult:
        check(recipe)
        return FitResult.of(folder, fit_recipe(recipe, found, folder, seen, seen.say, column))

    return run_job(job, asked, None, progress)
