"""`hornbeam eval processbench`: a value model, a judge, or what others predicted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hornbeam.cli.credit_command import write
from hornbeam.cli.job_setup import loading, stopped
from hornbeam.errors import DataError, ModelError
from hornbeam.files.terminal import tell
from hornbeam.models.catalogue import check_folder
from hornbeam.score.processbench import (
    BenchSolution,
    Prediction,
    ProcessBenchMetrics,
    best_threshold,
    by_final_answer,
    by_split,
    judge_all,
    mean_f1,
    official,
    predict,
    read_predictions,
    read_solutions,
)
from hornbeam.settings import nearest
from hornbeam.tasks.records import sample

if TYPE_CHECKING:
    from hornbeam.assembly.judges import Bench

GROUPINGS = {"official": official, "by_final_answer": by_final_answer}
TITLES = {
    "official": "Grouped by the first wrong step (official)",
    "by_final_answer": "Grouped by the final answer",
}
JUDGED = ("--data", "--count", "--seed", "--threshold", "--out", "--device")
Values = Sequence[Sequence[float | None]]


File = Annotated[
    Path | None,
    typer.Option("--predictions", metavar="FILE", help="Score what was predicted elsewhere."),
]
Model = Annotated[
    Path | None, typer.Option("--model", metavar="DIR", help="Score a fitted value model.")
]
Judge = Annotated[
    str | None, typer.Option("--judge", metavar="DIR", help="Score a judge, step by step.")
]
Data = Annotated[
    list[Path] | None,
    typer.Option("--data", metavar="FILE", help="Items to judge, a file a split."),
]
Count = Annotated[
    int | None, typer.Option("--count", min=1, help="Only so many items of each file, drawn.")
]
Seed = Annotated[
    int | None, typer.Option("--seed", help="Draws the items of --count.", show_default="0")
]
Tune = Annotated[
    str | None, typer.Option("--tune", metavar="SPLIT", help="Choose the threshold on this split.")
]
Threshold = Annotated[
    float | None,
    typer.Option("--threshold", help="A step of lower value is taken for wrong.", show_default="0"),
]
Asked = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="How the judge is asked, as votes=3."),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="Predictions; a judge goes on with it.",
        show_default="of a judge: runs/processbench-DIR.jsonl",
    ),
]
Device = Annotated[
    str | None, typer.Option("--device", help="Where weights lie, as cuda.", show_default="cpu")
]


def processbench_command(
    predictions: File = None,
    model: Model = None,
    judge: Judge = None,
    data: Data = None,
    count: Count = None,
    seed: Seed = None,
    tune: Tune = None,
    threshold: Threshold = None,
    sets: Asked = None,
    out: Out = None,
    device: Device = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Find the first wrong step, scored as ProcessBench does; null is never right.

    A line of --predictions is {"id": ..., "split": ..., "label": gold, "prediction": index, -1 or
    null}. Where all lines tell final_answer_correct, figures grouped by it stand beside the
    official ones.
    """
    given: dict[str, object]
    given = {"--predictions": predictions, "--model": model, "--judge": judge, "--data": data}
    given |= {
        "--count": count,
        "--seed": seed,
        "--tune": tune,
        "--threshold": threshold,
        "--set": sets,
    }
    given |= {"--out": out, "--device": device}
    result: dict[str, object] = {}
    if predictions is not None:
        only(given, "--predictions")
        items = read_predictions(predictions)
    elif judge is not None:
        only(given, "--judge", *JUDGED, "--set")
        solutions = _solutions(data, count, seed, None)
        items, result = _judged(judge, solutions, sets, threshold, out, device, as_json)
    elif model is not None:
        only(given, "--model", *JUDGED, "--tune")
        if tune is not None:
            only({"--threshold": threshold}, "--tune")
        solutions = _solutions(data, count, seed, tune)
        values = values_of(model, solutions, device)
        if tune is not None:
            threshold = _tuned(solutions, values, tune)
        result = {"threshold": threshold or 0.0, "tuned_on": tune}
        items = [_predicted(*pair, threshold or 0.0) for pair in zip(solutions, values)]
        if out is not None:
            write([json.dumps(item.to_json()) + "\n" for item in items], out)
    else:
        raise DataError(
            "eval processbench: give --predictions FILE, or --model DIR or --judge DIR with --data"
        )
    _print_summary(items, result, as_json)


def _print_summary(items: Sequence[Prediction], result: dict[str, object], as_json: bool) -> None:
    """Print the figures of all groupings that the items allow."""
    groups = {
        name: by_split(items, how)
        for name, how in GROUPINGS.items()
        if all(how(item) is not None for item in items)
    }
    silent = sum(item.prediction is None for item in items)
    result |= {"count": len(items), "without_verdict": silent}
    if as_json:
        tell(json.dumps(result | {name: _record(splits) for name, splits in groups.items()}))
    else:
        _show(groups, result)


def only(
    given: Mapping[str, object], beside: str, *fit: str, command: str = "eval processbench"
) -> None:
    """An option that would mean nothing beside another is refused."""
    for name, value in given.items():
        if value is not None and value != [] and name not in (beside, *fit):
            raise DataError(f"{command}: {name} has no use beside {beside}: leave it out")


def _solutions(
    data: list[Path] | None, count: int | None, seed: int | None, tune: str | None
) -> list[BenchSolution]:
    """The items to judge."""
    if seed is not None and count is None:
        raise DataError("eval processbench: --seed draws the items of --count: say that too")
    files = [read_solutions(path) for path in data or []]
    solutions = [item for items in files for item in sample(items, count, seed or 0)]
    if not solutions:
        raise DataError("eval processbench: name the items, as in --data gsm8k.jsonl")
    splits = {item.split for item in solutions}
    if tune is not None and tune not in splits:
        raise DataError(f"--tune {tune}: no item of that split: {nearest(tune, splits)}")
    return solutions


def _judged(
    name: str,
    solutions: Sequence[BenchSolution],
    sets: list[str] | None,
    threshold: float | None,
    out: Path | None,
    device: str | None,
    as_json: bool,
) -> tuple[list[Prediction], dict[str, object]]:
    """What a judge says, and what it cost; the file of predictions grows item by item."""
    bench = bench_of(name, sets, threshold, out, device, as_json, "processbench")
    with stopped():
        items, tokens = asyncio.run(bench.first_wrong(solutions))
    return items, {"judge_tokens": tokens, "predictions": str(bench.out)}


def bench_of(
    name: str,
    sets: list[str] | None,
    threshold: float | None,
    out: Path | None,
    device: str | None,
    as_json: bool,
    what: str,
) -> Bench:
    """A judge on a benchmark; its words go to the error stream where JSON is printed."""
    from rich.console import Console

    from hornbeam.assembly.judges import Bench, JudgeModel, judge_settings
    from hornbeam.assembly.progress import Progress
    from hornbeam.recipe.toml import override

    given = override({}, sets or [])
    model = JudgeModel.of("--set endpoint", name, given.pop("endpoint", {}))
    settings = judge_settings(given, model.folder)
    path = out or Path("runs") / f"{what}-{model.short}.jsonl"
    loading(*([] if "://" in name else [name]))
    progress = Progress(Console(stderr=True)) if as_json else Progress()
    return Bench(model, settings, path, threshold or 0.0, progress, device or "cpu")


def values_of(model: Path, solutions: Sequence[BenchSolution], device: str | None) -> Values:
    """What a fitted model thinks of every step."""
    check_folder(model)
    loading(str(model))
    from hornbeam.chat import TemplateChat
    from hornbeam.score.prm import ValueGuide
    from hornbeam.train.value import ValueModel

    fitted = ValueModel.load(model, device=device or "cpu")
    if not fitted.card.objective:
        raise ModelError(f"{model} is no fitted value model: fit one with `hornbeam fit`")
    chat = TemplateChat(fitted.tokenizer, str(model))

    async def judge() -> Values:
        guide = ValueGuide(fitted)
        try:
            return await judge_all(guide, chat, solutions)
        finally:
            await guide.aclose()

    return asyncio.run(judge())


def _tuned(solutions: Sequence[BenchSolution], values: Values, split: str) -> float:
    """The threshold of highest F1 on one split."""
    pairs = [(v, item.label) for item, v in zip(solutions, values) if item.split == split]
    return best_threshold([v for v, _ in pairs], [label for _, label in pairs])


def _predicted(item: BenchSolution, values: Sequence[float | None], threshold: float) -> Prediction:
    """No verdict where a step has no value (it is longer than the model's context)."""
    said = None if None in values else predict(values, threshold)
    return Prediction(item.id, item.split, item.label, said, item.correct)


def _record(splits: dict[str, ProcessBenchMetrics]) -> dict[str, object]:
    return {"splits": {n: s.to_json() for n, s in splits.items()}, "mean_f1": mean_f1(splits)}


def _show(by_group: dict[str, dict[str, ProcessBenchMetrics]], result: dict[str, object]) -> None:
    if "threshold" in result:
        on = f", chosen on {result['tuned_on']}" if result["tuned_on"] else ""
        tell(f"A step below {result['threshold']:.4f} is taken for wrong{on}.\n")
    if "judge_tokens" in result:
        tell(f"Judge tokens: {result['judge_tokens']:,}. {result['predictions']}\n")
    tell("\n\n".join(_table(TITLES[name], splits) for name, splits in by_group.items()))
    if result["without_verdict"]:
        tell(f"\n{result['without_verdict']} of {result['count']} items have no verdict.")
    if len(by_group) < len(GROUPINGS):
        tell("\nNot every line has final_answer_correct: no grouping by it.")


def _table(title: str, splits: dict[str, ProcessBenchMetrics]) -> str:
    """One line a split, percentages with one digit as the official script prints them."""
    lines = [title, f"{'split':<16}{'items':>7}{'error acc':>11}{'correct acc':>13}{'f1':>7}"]
    for name, found in splits.items():
        accuracies = f"{one(found.error_accuracy):>11}{one(found.correct_accuracy):>13}"
        lines.append(f"{name:<16}{found.errors + found.corrects:>7}{accuracies}{one(found.f1):>7}")
    if len(splits) > 1:
        lines.append(f"{'mean':<47}{one(mean_f1(splits)):>7}")
    return "\n".join(lines)


def one(value: float | None) -> str:
    """A percentage with one digit."""
    return "-" if value is None else f"{value:.1f}"
