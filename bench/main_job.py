"""What runs of the main job came to: held-out accuracy before, after the warm start, at the end.

    make train; python bench/main_job.py runs/calculator [more runs of other seeds] [--json FILE]

The gain of the RL part is measured on the same held-out tasks, so it comes with a paired bootstrap
interval for each run; over several runs their spread stands beside it.

Where its seconds went is told too: growth and learning of the steps, the warm start, evaluations
on their own, and the rest (start, checkpoints, evaluations that outlast the growth beside them).
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
import sys
from pathlib import Path
from typing import Any

from hornbeam.store.database import Store, TreeKey


def rewards(store: Store, stage: str, step: int) -> list[float]:
    """Reward of each held-out task, a failed one as 0."""
    out = []
    for key in store.keys(stage, step):
        tree = store.read(TreeKey(*key)).tree
        column = tree.columns["reward"]
        out.append(max((column[i] or 0.0) for i in tree.leaves()))
    return out


def interval(before: list[float], after: list[float], draws: int = 4000) -> tuple[float, float]:
    """95 % bootstrap interval of the mean paired difference."""
    rng = random.Random(0)
    differences = [b - a for a, b in zip(before, after)]
    means = sorted(
        statistics.fmean(rng.choices(differences, k=len(differences))) for _ in range(draws)
    )
    return means[int(0.025 * draws)], means[int(0.975 * draws)]


def where(metrics: list[dict[str, Any]]) -> dict[str, float]:
    """Seconds of a run by what they went into, from its rows in the order kept."""
    out = dict.fromkeys(("growth", "learning", "warm start", "evaluation", "rest"), 0.0)
    begun = 0.0
    for row in metrics:
        seconds = max(0.0, row.get("seconds", begun) - begun)
        begun += seconds
        if row["kind"] == "train":
            out["growth"] += row["seconds_grow"]
            out["learning"] += row["seconds_train"]
            seconds -= row["seconds_grow"] + row["seconds_train"]
        beside = seconds < 0  # the row before it was an evaluation beside this step's growth
        kind = {"sft": "warm start", "eval": "evaluation"}.get(row["kind"], "rest")
        out["evaluation" if beside else kind] += seconds
    return {name: round(seconds, 1) for name, seconds in out.items()}


def summary(folder: Path) -> dict[str, Any]:
    """The figures of one run folder."""
    with Store(folder, read_only=True) as store:
        metrics, recipe, costs = store.metrics(), store.get("recipe"), store.totals()
        looks = [row for row in metrics if row["kind"] == "eval"]
        last = looks[-1]
        warm = rewards(store, "warm start", 0)
        final = rewards(store, "eval", last["step"])
    low, high = interval(warm, final)
    return {
        "seed": recipe["run"]["seed"],
        "model": recipe["model"]["name"],
        "tasks": len(final),
        "curve": [[row["stage"], row["step"], row["accuracy"]] for row in looks],
        "warm_start": statistics.fmean(warm),
        "final": statistics.fmean(final),
        "gain": statistics.fmean(final) - statistics.fmean(warm),
        "gain_95": [low, high],
        "seconds": max(row["seconds"] for row in metrics),
        "seconds_of": where(metrics),
        "costs": costs,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = [summary(folder) for folder in args.runs]
    for row in rows:
        start = next((a for stage, _, a in row["curve"] if stage == "start"), None)
        results = f"{100 * start:.1f} % -> " if start is not None else ""
        print(
            f"seed {row['seed']}: {results}{100 * row['warm_start']:.1f} % after the warm start ->"
            f" {100 * row['final']:.1f} % at the end of {row['tasks']} held-out tasks; gain"
            f" {100 * row['gain']:+.1f} points, 95 % [{100 * row['gain_95'][0]:+.1f},"
            f" {100 * row['gain_95'][1]:+.1f}]; {row['seconds'] / 60:.1f} minutes"
        )
        total = sum(row["seconds_of"].values())
        for name, seconds in row["seconds_of"].items():
            print(f"  {name:<12}{seconds:8.1f} s{100 * seconds / total:6.1f} %")
    gains = [row["gain"] for row in rows]
    if len(gains) > 1:
        print(
            f"gain over {len(gains)} seeds: mean {100 * statistics.fmean(gains):+.1f} points,"
            f" standard deviation {100 * statistics.stdev(gains):.1f}"
        )
    if args.json:
        command = "python bench/main_job.py " + " ".join(folder.name for folder in args.runs)
        result = {"command": command, "python": platform.python_version(), "runs": rows}
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
