"""Text patterns against native tool calls: the calculator job by both, on the same sampled tokens.

    OMP_NUM_THREADS=1 python bench/native_calls.py --out DIR [--seeds 0 1 2] [--steps 20]
        [--held-out 200] [--jobs 1] [--set KEY=VALUE ...] [--json FILE]

`text` is recipes/calculator.toml (`CALC[12 * 3]`), `native` recipes/calculator_tools.toml (JSON
between tags, by a chat template with tools). Both train the same model on the same tasks, after a
warm start on the same 80 of them. `--steps` are those of `text`; `native` makes as many as sample
the same number of tokens: it begins with one, and goes on to that many by what a step of both
samples. What is finished in DIR is not run again.

Prints for the look after the warm start and for the last one: held-out greedy accuracy, and the
share of well-formed replies: calls that were read and run, or an answer that the program reads.
Intervals are 95 %, of one seed Wilson's; over seeds Student's, and of the paired difference.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from arms import hornbeam
from hornbeam import stats
from hornbeam.assembly.failed_episodes import REFUSED
from hornbeam.store.database import Store
from hornbeam.tree.nodes import Node

RECIPES = Path(__file__).parent.parent / "recipes"
ARMS = {"text": RECIPES / "calculator.toml", "native": RECIPES / "calculator_tools.toml"}
LOOKS = {"warm start": "after the warm start", "final": "at the end"}
FIGURES = ("accuracy", "well_formed")
Json = dict[str, Any]


def well_formed(node: Node) -> bool:
    """Whether a reply is a call that was read and run, or ends the episode with an answer."""
    refused = any(call.error.startswith(tuple(REFUSED.values())) for call in node.calls)
    return not refused and (bool(node.calls) or node.answer is not None)


def train(arm: str, seed: int, steps: int, args: argparse.Namespace) -> Path:
    """The run folder of an arm, trained for so many steps."""
    run: Path = args.out.absolute() / f"{arm}-{seed}"
    sets = [f"run.seed={seed}", f"run.steps={steps}", "run.eval_every=0", "run.eval_start=false"]
    sets += [f"tasks.eval.0.count={args.held_out}", *args.set]
    words = [word for each in sets for word in ("--set", each)]
    args.out.mkdir(parents=True, exist_ok=True)
    hornbeam(run.with_suffix(".log"), "train", str(ARMS[arm]), "--out", str(run), *words)
    return run


def rows_of(run: Path) -> list[Json]:
    """The rows of metrics of a run."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def sampled(run: Path) -> list[int]:
    """Sampled tokens of every step."""
    return [int(row["sampled_tokens"]) for row in rows_of(run) if row["kind"] == "train"]


def figures(run: Path) -> Json:
    """Accuracy and well-formed replies of both looks of a run, and what it sampled."""
    looks: Json = {}
    with Store(run, read_only=True) as store:
        for row in rows_of(run):
            if row["kind"] != "eval" or row["stage"] not in LOOKS:
                continue
            stage = "eval" if row["stage"] == "final" else row["stage"]
            trees = [store.read(key).tree for key in store.keys(stage, row["step"])]
            nodes = [node for tree in trees for node in tree.nodes[1:] if node.finish != "chunk"]
            good = [float(well_formed(node)) for node in nodes]
            looks[row["stage"]] = {
                "accuracy": row["accuracy"],
                "accuracy_95": row["interval"],
                "well_formed": statistics.fmean(good),
                "well_formed_95": list(stats.interval(good)),
                "replies": len(good),
                "tokens_a_reply": sum(len(n.tokens) for t in trees for n in t.nodes) / len(good),
            }
    steps = sampled(run)
    return {"looks": looks, "steps": len(steps), "sampled_tokens": sum(steps)}


def one_seed(args: argparse.Namespace, seed: int) -> Json:
    """Both arms of a seed, the native one for as many tokens as the other sampled."""
    text = train("text", seed, args.steps, args)
    budget = sum(sampled(text))
    native = train("native", seed, 1, args)
    steps = max(1, round(budget / (sum(sampled(native)) / len(sampled(native)))))
    if len(sampled(native)) < steps:
        train("native", seed, steps, args)
    return {"seed": seed, "text": figures(text), "native": figures(native)}


def over_seeds(rows: Sequence[Json]) -> Json:
    """Means over seeds with Student's interval, and the paired difference, by look and figure."""
    out: Json = {}
    for look in LOOKS:
        for figure in FIGURES:
            values = {arm: [row[arm]["looks"][look][figure] for row in rows] for arm in ARMS}
            values["native - text"] = [b - a for a, b in zip(values["text"], values["native"])]
            out[f"{figure} {LOOKS[look]}"] = {
                name: {"by_seed": each, "mean": statistics.fmean(each), "interval": spread(each)}
                for name, each in values.items()
            }
    return out


def spread(values: Sequence[float]) -> list[float] | None:
    """Student's interval of the mean; None of one value, or of equal ones."""
    return list(stats.student(values)) if len(set(values)) > 1 else None


def say(rows: Sequence[Json], found: Json) -> str:
    """The table on the screen."""
    lines = []
    for row in rows:
        for arm in ARMS:
            own = row[arm]
            parts = [f"seed {row['seed']} {arm:6} {own['steps']:3} steps"]
            parts.append(f"{own['sampled_tokens']:,} sampled tokens")
            for look, words in LOOKS.items():
                at = own["looks"][look]
                (a, b), (c, d) = at["accuracy_95"], at["well_formed_95"]
                parts.append(
                    f"{words} {at['accuracy']:.1%} [{a:.1%}, {b:.1%}] right,"
                    f" {at['well_formed']:.1%} [{c:.1%}, {d:.1%}] well-formed,"
                    f" {at['tokens_a_reply']:.1f} tokens a reply"
                )
            lines.append("; ".join(parts))
    for name, each in found.items():
        lines.append(name)
        for arm, one in each.items():
            span = one["interval"]
            shown = f" [{span[0]:+.1%}, {span[1]:+.1%}]" if span else ""
            lines.append(f"  {arm:14} {one['mean']:+.1%}{shown}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=20, help="of the text recipe [20]")
    parser.add_argument("--held-out", type=int, default=200, help="tasks of a look [200]")
    parser.add_argument("--jobs", type=int, default=1, help="seeds at once [1]")
    parser.add_argument("--set", action="append", default=[], help="of both recipes")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with ThreadPoolExecutor(args.jobs) as pool:
        rows = list(pool.map(partial(one_seed, args), args.seeds))
    found = over_seeds(rows)
    print(say(rows, found))
    if args.json:
        about = {
            "command": "python bench/native_calls.py " + " ".join(sys.argv[1:]),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "over_seeds": found,
            "seeds": rows,
        }
        args.json.write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
