"""`hornbeam eval prmbench`: a value model, a judge, or what others said of every step."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from hornbeam.cli.credit_command import write
from hornbeam.cli.job_setup import stopped
from hornbeam.cli.processbench_command import (
    JUDGED,
    Asked,
    Device,
    File,
    Judge,
    Model,
    Seed,
    Threshold,
    bench_of,
    one,
    only,
    values_of,
)
from hornbeam.errors import DataError
from hornbeam.files.terminal import tell
from hornbeam.score.prmbench import (
    CATEGORIES,
    Marked,
    PrmBenchMetrics,
    Verdict,
    categories,
    read_marked,
    read_verdicts,
    report,
)

COMMAND = "eval prmbench"
SHOWN = {  # heading -> figure, as published
    "prm score": "prm_score",
    "f1": "f1",
    "neg f1": "negative_f1",
    "first err": "first_error_acc",
    "similar": "similarity",
}

Data = Annotated[
    list[Path] | None,
    typer.Option("--data", metavar="FILE", help="Items to judge, in one file or several."),
]
Count = Annotated[
    int | None, typer.Option("--count", min=1, help="Only so many items of each class, drawn.")
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="Verdicts; a judge goes on with it.",
        show_default="of a judge: runs/prmbench-DIR.jsonl",
    ),
]


def prmbench_command(
    predictions: File = None,
    model: Model = None,
    judge: Judge = None,
    data: Data = None,
    count: Count = None,
    seed: Seed = None,
    threshold: Threshold = None,
    sets: Asked = None,
    out: Out = None,
    device: Device = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say of every step whether it is right, scored as PRMBench does; null is left out, as there.

    A line of --predictions is {"id": ..., "classification": ..., "error_steps": [wrong ones, from
    0], "right": [true or false a step] or null}; originals of class "correct" are what similarity
    is compared with.
    """
    given: dict[str, object]
    given = {"--predictions": predictions, "--model": model, "--judge": judge, "--data": data}
    given |= {"--count": count, "--seed": seed, "--threshold": threshold, "--set": sets}
    given |= {"--out": out, "--device": device}
    result: dict[str, object] = {}
    if predictions is not None:
        only(given, "--predictions", command=COMMAND)
        said = read_verdicts(predictions)
    elif judge is not None or model is not None:
        beside = "--judge" if judge is not None else "--model"
        only(given, beside, *JUDGED, *(("--set",) if judge is not None else ()), command=COMMAND)
        if seed is not None and count is None:
            raise DataError(f"{COMMAND}: --seed draws the items of --count: say that too")
        marked, notes = read_marked(data or [], count, seed or 0)
        if not marked:
            raise DataError(f"{COMMAND}: name the items, as in --data prmbench.jsonl")
        for note in notes:
            tell(f"note: {note}", err=True)
        result = {"threshold": threshold or 0.0}
        if judge is not None:
            bench = bench_of(judge, sets, threshold, out, device, as_json, "prmbench")
            with stopped():
                said, tokens = asyncio.run(bench.every_step(marked))
            result |= {"judge_tokens": tokens, "predictions": str(bench.out)}
        else:
            assert model is not None
            values = values_of(model, [item.solution for item in marked], device)
            said = _said(marked, values, threshold or 0.0)
            if out is not None:
                write([json.dumps(verdict.to_json()) + "\n" for verdict in said], out)
    else:
        raise DataError(
            f"{COMMAND}: give --predictions FILE, or --model DIR or --judge DIR with --data"
        )
    _print_summary(said, result, as_json)


def _said(
    marked: Sequence[Marked], values: Sequence[Sequence[float | None]], threshold: float
) -> list[Verdict]:
    return [item.said(scores, threshold) for item, scores in zip(marked, values, strict=True)]


def _print_summary(said: Sequence[Verdict], result: dict[str, object], as_json: bool) -> None:
    """Print the figures of all classes, of each, and the means of the categories."""
    total, by_class = report(said)
    means = categories(by_class)
    silent = sum(verdict.right is None for verdict in said)
    result |= {"count": len(said), "without_verdict": silent}
    if as_json:
        classes = {name: found.to_json() for name, found in by_class.items()}
        data = {"total": total.to_json(), "categories": means, "classes": classes}
        tell(json.dumps(result | data))
        return
    if "threshold" in result:
        tell(f"A step below {result['threshold']:.4f} is taken for wrong.\n")
    if "judge_tokens" in result:
        tell(f"Judge tokens: {result['judge_tokens']:,}. {result['predictions']}\n")
    tell(_table(total, by_class))
    parts = "   ".join(f"{name} {one(means[name])}" for name in CATEGORIES)
    tell(f"\nPRM score by category: {parts}")
    if silent:
        tell(f"\n{silent} of {len(said)} items have no verdict.")


def _table(total: PrmBenchMetrics, by_class: dict[str, PrmBenchMetrics]) -> str:
    """One line a class, percentages with one digit."""
    lines = [f"{'class':<22}{'items':>7}" + "".join(f"{name:>11}" for name in SHOWN)]
    for name, found in {"all": total, **by_class}.items():
        row = found.to_json()
        shown = "".join(f"{one(row[figure]):>11}" for figure in SHOWN.values())
        lines.append(f"{name:<22}{found.items:>7}{shown}")
    return "\n".join(lines)
