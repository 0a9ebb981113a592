"""What judges of the tiny world are worth: chunk-reset in search, and choosing what to train on.

    python bench/judge_use.py --out DIR [--seeds 0 1 2 3 4] [--judges rl sft ...]
        [--selection SEED ...] [--json FILE]

DIR is what bench/judge_seeds.py made: a policy and its judges for every seed. For every judge it
runs the searches of recipe reset_tiny on held-out questions (all tokens counted, the judge's too),
and holds chunk-reset against the single pass and against the majority vote that costs at least as
much.

Selection needs answers that are right for a wrong reason. In a world where a quarter of the wrong
ends hold the treasure all the same, steps are labelled and a judge is trained (SFT); the policy
answers 100 other tasks 16 times each; of every task's correct answers one is chosen, by the mean of
the judge's verdicts on its steps or by the outcome alone, and the policy is trained on either set.
Both are held out where no end is lucky. All of it goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from pathlib import Path
from typing import Any

from hornbeam import stats
from judge_seeds import JUDGES, hornbeam, options
from search_seeds import points, report

Json = dict[str, Any]
TASKS, SAMPLES, LUCKY = 100, 16, 0.25  # of the selection


def seeded(seed: int, lucky: float = 0.0) -> list[str]:
    """The world and the tasks of a seed; what is held out is never lucky."""
    learned = f"{{world={seed}, lucky={lucky}}}" if lucky else f"{{world={seed}}}"
    worlds = {"train": learned, "eval": f"{{world={seed}}}"}
    sets = [f"tasks.{part}.0.options={world}" for part, world in worlds.items()]
    return options(f"run.seed={seed}", *sets, *(f"tasks.{p}.0.seed={seed}" for p in worlds))


def search(folder: Path, seed: int, judge: str) -> Json:
    """The searches of the recipe under one judge."""
    out = folder / ("search" if judge == "rl" else f"search_{judge}")  # judge_seeds ran that one
    model = options(f"guides.value.model={folder / judge / 'final'}")
    policy = ["--model", str(folder / "policy" / "final")]
    hornbeam("search", "reset_tiny", *policy, "--out", str(out), *seeded(seed), *model)
    found: Json = json.loads((out / "search.json").read_text())
    return found


def selection(folder: Path, seed: int) -> Json:
    """Accuracy after training on answers that a judge chose, and on any correct ones."""
    home, model = folder / "lucky", ["--model", str(folder / "policy" / "final")]
    world, labels, judge = seeded(seed, LUCKY), home / "rollouts", home / "judge"
    if not (labels / "trees.jsonl").is_file():
        how = options("label.chunk_label=rel_ratio", "label.rollouts=16")
        hornbeam("label", "reset_tiny", *model, "--out", str(labels), *world, *how)
    if not (judge / "final" / "config.json").is_file():
        paths = [f"tasks.{p}.0.path={labels / 'trees.jsonl'}" for p in ("train", "eval")]
        start = f"model.name={folder / 'policy' / 'final'}"
        sets = options(f"run.seed={seed}", start, *paths, *JUDGES["sft"])
        hornbeam("train", "judge_tiny", "--out", str(judge), *sets)
    if not (home / "pool" / "pool.jsonl").is_file():
        hornbeam("search", "reset_tiny", *model, "--out", str(home / "pool"), *world, *pool(judge))
    out: Json = {}
    for by in ("score", "outcome"):
        file, run = home / f"{by}.jsonl", home / by
        if not (run / "final" / "config.json").is_file():
            result = ["--by", by, "--column", "value", "--recipe", "reset_tiny", *model]
            hornbeam("select", str(home / "pool" / "pool.jsonl"), *result, "--out", str(file))
            data = options(f"sft.data={file}", f"model.name={model[1]}", "sft.count=100000")
            hornbeam("train", "reset_tiny", "--out", str(run), *seeded(seed), *data)
        out[by] = last_accuracy(run)
        out[f"{by}_lines"] = len(file.read_text().splitlines())
    return {**out, "before": last_accuracy(folder / "policy")}


def pool(judge: Path) -> list[str]:
    """Answers to tasks that nothing was learned from, and what the judge says of their steps."""
    ways = [{"name": "single pass"}, {"name": "judged", "choose": "prm_vote", "n": SAMPLES}]
    methods = ", ".join(
        "{" + ", ".join(f"{k} = {json.dumps(v)}" for k, v in way.items()) + "}" for way in ways
    )
    return options(
        *("tasks.train.0.count=1", "tasks.eval.0.split=train", "tasks.eval.0.skip=1000"),
        *(f"tasks.eval.0.count={TASKS}", f"tasks.eval.0.options.lucky={LUCKY}"),
        *(f"search.methods=[{methods}]", f"guides.value.model={judge / 'final'}"),
    )


def last_accuracy(run: Path) -> float:
    """Held-out accuracy at the end of a run, in percent."""
    rows = [json.loads(row) for row in (run / "metrics.jsonl").read_text().splitlines()]
    return 100 * float(rows[-1]["accuracy"])


def control(rows: list[Json], cost: float) -> Json:
    """The cheapest majority vote that costs at least as much, else the dearest."""
    votes = [row for row in rows if row["method"] == "majority"]
    dearer = [row for row in votes if row["total_tokens"] >= cost]
    return min(dearer or votes, key=lambda row: abs(row["total_tokens"] - cost))


def against(row: Json, other: Json) -> Json:
    """The difference in accuracy by seed, in points, with its interval over seeds."""
    differences = [100 * (a - b) for a, b in zip(row["by_seed"], other["by_seed"])]
    return {
        "label": f"{other['method']} {other['label']}".strip(),
        "tokens": other["total_tokens"],
        "difference": statistics.mean(differences),
        "by_seed": differences,
        "interval": stats.student(differences)
        if len(differences) > 1 and any(differences)
        else None,
    }


def spread(values: list[float]) -> Json:
    """Mean and interval over seeds of a difference."""
    interval = stats.student(values) if len(values) > 1 and any(values) else None
    return {"difference": statistics.mean(values), "by_seed": values, "interval": interval}


def line(name: str, what: Json) -> str:
    """A difference as text."""
    low, high = what["interval"] or (float("nan"), float("nan"))
    return f"  {name}: {what['difference']:+.1f} points over seeds [{low:+.1f}, {high:+.1f}]"


def one_judge(args: argparse.Namespace, judge: str) -> Json:
    """The searches under one judge over all seeds."""
    folders = [(args.out / str(seed), seed) for seed in args.seeds]
    rows = points([search(folder, seed, judge) for folder, seed in folders])
    print(f"--- {judge}\n{report(rows, 'single pass')}")
    resets = []
    for row in (row for row in rows if row["method"] == "chunk-reset"):
        vote = against(row, control(rows, row["total_tokens"]))
        print(line(f"{row['method']} {row['label']} against {vote['label']}", vote))
        resets.append({"label": row["label"], "tokens": row["total_tokens"], "majority": vote})
    return {"points": rows, "resets": resets}


def selections(args: argparse.Namespace) -> Json:
    """Selection over all seeds."""
    chosen = [selection(args.out / str(seed), seed) for seed in args.selection or args.seeds]
    gains = {
        "score_to_outcome": spread([row["score"] - row["outcome"] for row in chosen]),
        "outcome_to_before": spread([row["outcome"] - row["before"] for row in chosen]),
    }
    for row in chosen:
        print({key: round(value, 1) for key, value in row.items()})
    for name, gain in gains.items():
        print(line(f"selection, {name.replace('_', ' ')}", gain))
    return {"selection": chosen, **gains}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--judges", nargs="+", default=["rl", "sft"])
    parser.add_argument("--selection", type=int, nargs="+", help="seeds of it [all]")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    found = {judge: one_judge(args, judge) for judge in args.judges}
    chosen = selections(args)
    if args.json:
        about = {
            "command": "python bench/judge_use.py " + " ".join(sys.argv[1:]),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "seeds": args.seeds,
            "judges": found,
            **chosen,
        }
        args.json.write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
