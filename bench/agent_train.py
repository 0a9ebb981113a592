"""An unchanged agent of a framework trained through the gateway, beside the native program.

    OMP_NUM_THREADS=1 python bench/agent_train.py --python PYTHON --out DIR [--seeds 0 1 2]
        [--steps 4] [--held-out 200] [--arms native agent] [--set KEY=VALUE ...] [--json FILE]

`native` is recipes/calculator_tools.toml; `agent` the same recipe with the agent of openai-agents
in bench/agent_files/calculator_agent.py in its program's place, run by PYTHON, which has it.
Both begin with the same weights: for each seed that recipe's warm start, made once. What is
finished in DIR is not run again, and what was stopped goes on.

Prints for each seed and arm: held-out greedy accuracy after the warm start and at the end with
Wilson's interval, the wall time of growth and of the whole (steps and looks, without imports and
the loading of weights), tokens, failures. Over seeds: means with Student's interval, all answers
of a look together with Wilson's, and the paired ratio of wall times.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from arms import hornbeam
from hornbeam import stats
from hornbeam.store.database import Store

HERE = Path(__file__).parent.absolute()
RECIPE = HERE.parent / "recipes/calculator_tools.toml"
AGENT = """[program]
agent = "python calculator_agent.py {task}"
"""
LOOKS = {"start": "after the warm start", "final": "at the end"}
SUMS = ("seconds_grow", "seconds_train", "leaves", "failed", "sampled_tokens", "tool_errors")
SUMS += ("prompt_tokens_computed", "prompt_tokens_cached", "turn_tokens_kept")
Json = dict[str, Any]


def without(text: str, name: str, instead: str = "") -> str:
    """A recipe's text with a section taken out, or another in its place."""
    pattern = rf"^\[{name}\]\n(?:(?!\[).*\n)*"
    found, times = re.subn(pattern, instead, text, flags=re.MULTILINE)
    if times != 1:
        raise SystemExit(f"{RECIPE.name} has no section [{name}]")
    return found


def words(sets: list[str]) -> list[str]:
    return [word for each in sets for word in ("--set", each)]


def warm(seed: int, args: argparse.Namespace) -> Path:
    """The weights that both arms begin with."""
    run = args.out / f"warm-{seed}"
    if not (run / "final").is_dir():
        sets = [f"run.seed={seed}", "run.steps=0", "run.eval_start=false", "tasks.eval.0.count=1"]
        more = words([*sets, *args.set])
        hornbeam(run.with_suffix(".log"), "train", str(RECIPE), "--out", str(run), *more)
    return run / "final"


def train(arm: str, seed: int, args: argparse.Namespace) -> Path:
    """The run folder of an arm."""
    run, text = args.out / f"{arm}-{seed}", without(RECIPE.read_text(), "sft")
    if (run / "final").is_dir():
        return run
    if arm == "agent":
        more = f'python = "{args.python}"\nfolder = "{HERE / "agent_files"}"\n\n'
        text = without(text, "program", AGENT + more)
    recipe = args.out / f"{arm}.toml"
    recipe.write_text(text)
    sets = [f"run.seed={seed}", f"run.steps={args.steps}", "run.eval_every=0"]
    sets += [f"tasks.eval.0.count={args.held_out}", f'model.name="{warm(seed, args)}"', *args.set]
    hornbeam(run.with_suffix(".log"), "train", str(recipe), "--out", str(run), *words(sets))
    return run


def figures(run: Path) -> Json:
    """What a run shows: both looks, seconds, tokens, what went wrong."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [row for row in rows if row["kind"] == "train"]
    looks = {row["stage"]: row for row in rows if row["kind"] == "eval"}
    out: Json = {}
    for stage in LOOKS:
        at = looks[stage]
        out[stage] = {"accuracy": at["accuracy"], "accuracy_95": at["interval"]}
        out[stage] |= {key: at.get(key) for key in ("count", "failed", "tool_errors", "kept_share")}
    for key in SUMS:
        out[key] = sum(row.get(key, 0) for row in steps)
    out["seconds"] = rows[-1]["seconds"]
    out["rewards"] = [row["reward"] for row in steps]
    with Store(run, read_only=True) as store:
        nodes = [n for key in store.keys("train", None) for n in store.read(key).tree.nodes]
    out["divergences"] = sum(node.error.startswith("Divergence") for node in nodes)
    out["errors"] = dict(Counter(node.error[:200] for node in nodes if node.error).most_common(5))
    return out


def over_seeds(rows: list[Json]) -> Json:
    """Means over seeds with Student's interval, of accuracies, their rise and times."""
    out: Json = {}

    def enter(name: str, values: list[float]) -> None:
        spread = list(stats.student(values)) if len(set(values)) > 1 else None
        out[name] = {"by_seed": values, "mean": statistics.fmean(values), "interval": spread}

    for arm in rows[0]["arms"]:
        of = [row["arms"][arm] for row in rows]
        before, after = ([one[look]["accuracy"] for one in of] for look in LOOKS)
        enter(f"{arm}: accuracy after the warm start", before)
        enter(f"{arm}: accuracy at the end", after)
        enter(f"{arm}: rise", [b - a for a, b in zip(before, after)])
        for look, words in LOOKS.items():
            right = [round(one[look]["accuracy"] * one[look]["count"]) for one in of]
            all_of_them = [one[look]["count"] for one in of]
            pooled = [float(n < sum(right)) for n in range(sum(all_of_them))]
            out[f"{arm}: all answers {words}"] = {
                "by_seed": right,
                "mean": statistics.fmean(pooled),
                "interval": list(stats.interval(pooled)),
            }
    if len(rows[0]["arms"]) == 2:
        for key, name in (("seconds", "wall time"), ("seconds_grow", "wall time of growth")):
            pairs = [(row["arms"]["native"][key], row["arms"]["agent"][key]) for row in rows]
            enter(f"agent / native: {name}", [agent / native for native, agent in pairs])
    return out


def say(rows: list[Json], found: Json) -> str:
    """The table on the screen."""
    lines = []
    for row in rows:
        for arm, own in row["arms"].items():
            parts = [f"seed {row['seed']} {arm:6}"]
            for look, words in LOOKS.items():
                (low, high), share = own[look]["accuracy_95"], own[look]["accuracy"]
                parts.append(f"{words} {share:.1%} [{low:.1%}, {high:.1%}]")
            parts.append(f"{own['seconds']:.0f} s, growth {own['seconds_grow']:.0f} s")
            parts.append(
                f"{own['sampled_tokens']:,.0f} tokens sampled,"
                f" {own['prompt_tokens_computed'] + own['prompt_tokens_cached']:,.0f} of prompts"
            )
            parts.append(
                f"{own['leaves']} leaves, {own['failed']} failed, {own['divergences']} divergences,"
                f" {own['final']['kept_share']:.1%} of earlier tokens kept"
            )
            lines.append("; ".join(parts))
    for name, one in found.items():
        times = "ratio" if "/" in name else "share"
        shown = "{:.2f}" if times == "ratio" else "{:.1%}"
        span = one["interval"]
        between = f" [{shown}, {shown}]".format(*span) if span else ""
        lines.append(f"{name:40} {shown.format(one['mean'])}{between}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", required=True, help="interpreter that has openai-agents")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--held-out", type=int, default=200, help="tasks of a look [200]")
    parser.add_argument("--arms", nargs="+", default=["native", "agent"])
    parser.add_argument("--set", action="append", default=[], help="of both arms")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    args.out = args.out.absolute()
    args.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for seed in args.seeds:
        found = {arm: figures(train(arm, seed, args)) for arm in args.arms}
        rows.append({"seed": seed, "arms": found})
    found = over_seeds(rows)
    print(say(rows, found))
    if args.json:
        about = {
            "command": "python bench/agent_train.py " + " ".join(sys.argv[1:]),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "over_seeds": found,
            "seeds": rows,
        }
        args.json.write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
