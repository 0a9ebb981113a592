"""An unchanged agent of a framework trained through the gateway, beside the native program.

    OMP_NUM_THREADS=1 python bench/agent_train.py --python PYTHON --out DIR [--seeds 0 1 2]
        [--steps 6] [--held-out 200] [--arms native agent] [--set KEY=VALUE ...] [--json FILE]

`native` is recipes/calculator_tools.toml; `agent` the same recipe with the agent of openai-agents
in bench/agents/calculator_agent.py in place of its program, run by PYTHON, which has the framework.
Both begin with the same weights: for each seed that recipe's warm start, made once. What is
finished in DIR is not run again, and what was stopped goes on.

Prints for each seed and arm: held-out greedy accuracy after the warm start and at the end with
Wilson's interval, the wall time of growth and of the whole (steps and looks, without imports and
the loading of weights), tokens, failures. Over seeds: means, and the paired ratio of wall times.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import sys
from pathlib import Path
from typing import Any

from arms import hornbeam
from hornbeam import stats

HERE = Path(__file__).parent.absolute()
RECIPE = HERE.parent / "recipes/calculator_tools.toml"
AGENT = """[program]
agent = "python calculator_agent.py {task}"
"""
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
        more = f'python = "{args.python}"\nfolder = "{HERE / "agents"}"\n\n'
        text = without(text, "program", AGENT + more)
    recipe = args.out / f"{arm}.toml"
    recipe.write_text(text)
    sets = [f"run.seed={seed}", f"run.steps={args.steps}", "run.eval_every=0"]
    sets += [f"tasks.eval.0.count={args.held_out}", f'model.name="{warm(seed, args)}"', *args.set]
    hornbeam(run.with_suffix(".log"), "train", str(recipe), "--out", str(run), *words(sets))
    return run


def figures(run: Path) -> Json:
    """What a run shows."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {"rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", required=True, help="interpreter that has openai-agents")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--held-out", type=int, default=200, help="tasks of a look [200]")
    parser.add_argument("--arms", nargs="+", default=["native", "agent"])
    parser.add_argument("--set", action="append", default=[], help="of both arms")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    args.out = args.out.absolute()
    args.out.mkdir(parents=True, exist_ok=True)
    for seed in args.seeds:
        for arm in args.arms:
            found = figures(train(arm, seed, args))
            print(json.dumps(found))


if __name__ == "__main__":
    main()
