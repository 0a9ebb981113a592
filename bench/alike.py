"""This checkout beside another: do the same recipes train to the same trees, rows and weights?

    OMP_NUM_THREADS=1 python bench/alike.py OTHER_CHECKOUT [--only NAME ...] [--json FILE]

Recipes that ship, made small, are trained by the command of each checkout on its own sources:
plain, stopped and resumed, with a budget that is spent on the way, in stages, by anchors, several
policies in one process and in a process each. Compared are the trees as they are exported, rows
of metrics and last weights, all but seconds, and what was said, all but speed. All cases but
`keep` ask for `run.resume = "exact"`, so that a difference is one of the code.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

HERE = Path(__file__).resolve().parents[1]
SMALL = ("run.eval_every=2", "run.checkpoint_every=2", "tasks.eval.0.count=8", "sft.epochs=1")
TINY = (*SMALL, "sft.count=120", "tasks.train.0.count=240")
EXACT = ("run.resume=exact",)
STAGES = "stages=[{most=0.5, rollouts=4}, {begin=2, most=0.9, rollouts=4}]"
DUET = (*SMALL, *EXACT, "sft.count=40", "run.steps=2", "run.eval_every=1")
DUET += ("engine={max_batch=1, cache_tokens=0}", "tasks.train.0.count=60")
START = (*SMALL, *EXACT, "run.steps=0", "tasks.train.0.count=24", "sft.count=24", "sft.epochs=30")
START += tuple(f"tasks.{part}.0.options={{depth=2}}" for part in ("train", "eval"))
ANCHORS = (*START, "anchor.store=anchors", "anchor.model=start/final", "anchor.rollouts=4")
ANCHORED = (*ANCHORS, "anchor.refresh=2", "anchor.tracker=0.5", "anchor.sample=priority")


def train(recipe: str, *sets: str, out: str = "run", policy: str = "") -> list[str]:
    """The words of a `hornbeam train`."""
    who = ["--policy", policy] if policy else []
    return ["train", recipe, "--out", out, *who, *(w for s in sets for w in ("--set", s))]


def anchor(recipe: str, *sets: str) -> list[str]:
    """The words of a `hornbeam anchor`."""
    return ["anchor", recipe, *(word for each in sets for word in ("--set", each))]


# Commands one after the other, those of a tuple at the same time.
CASES: dict[str, list[tuple[list[str], ...]]] = {
    "keep": [(train("tiny", *TINY, "run.steps=3"),)],
    "resumed": [
        (train("tiny", *TINY, *EXACT, "run.steps=3"),),
        (train("tiny", *TINY, *EXACT, "run.steps=4"),),
    ],
    "budget": [
        (train("tiny", *TINY, *EXACT, "run.steps=3", "budget.tokens=9000"),),
        (train("tiny", *TINY, *EXACT, "run.steps=3", "budget.tokens=900000"),),
    ],
    "stages": [(train("tiny", *TINY, *EXACT, "run.steps=4", "tasks.train.0.count=40", STAGES),)],
    "anchors": [
        (train("anchor_tiny", *START, out="start"),),
        (anchor("anchor_tiny", *ANCHORS),),
        (train("anchor_tiny", *ANCHORED, "run.steps=2"),),
        (train("anchor_tiny", *ANCHORED, "run.steps=4"),),
    ],
    "joint": [(train("delegate_tiny", *DUET),)],
    "decoupled": [
        tuple(train("delegate_tiny", *DUET, policy=name) for name in ("guide", "seeker")),
    ],
}


def left(folder: Path, trees: Path) -> dict[str, Any]:
    """What a run left, by name: its trees as exported, its rows of metrics, its last weights."""
    out = {f"tree {n}": line for n, line in enumerate(trees.read_text("utf-8").splitlines())}
    for path in sorted(folder.rglob("metrics.jsonl")):
        for row in map(json.loads, path.read_text("utf-8").splitlines()):
            name = f"row {row['kind']} {row.get('stage', '')} {row.get('step', '')}"
            kept = {key: value for key, value in row.items() if "seconds" not in key}
            out[f"{path.relative_to(folder)} {name}"] = json.dumps(kept, sort_keys=True)
    for path in sorted(folder.glob("final/**/*.safetensors")):
        held = load_file(path)
        data = b"".join(name.encode() + held[name].numpy().tobytes() for name in sorted(held))
        out[f"weights {path.relative_to(folder)}"] = hashlib.sha256(data).hexdigest()
    return out


def run(checkout: Path, case: str, folder: Path) -> dict[str, Any]:
    """What a case leaves in a folder, and what it said."""
    env = {**os.environ, "PYTHONPATH": str(checkout / "src"), "COLUMNS": "200"}
    said: list[str] = []
    for commands in CASES[case]:
        started = [
            subprocess.Popen(
                [sys.executable, "-m", "hornbeam.cli.main", *words],
                cwd=folder,
                env=env,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for words in commands
        ]
        for process in started:
            text, _ = process.communicate()
            if process.returncode:
                raise SystemExit(f"{checkout}: {case}: {text[-2000:]}")
            said += [re.sub(r"[\d,]+ tok/s|[\d.]+ s\b", "-", line) for line in text.splitlines()]
    export = [sys.executable, "-m", "hornbeam.cli.main", "export", "run", "--out", "trees.jsonl"]
    subprocess.run(export, cwd=folder, env=env, check=True, stdout=subprocess.DEVNULL)
    lines = sorted(said) if len(CASES[case][-1]) > 1 else said  # of several, in any order
    return {**left(folder / "run", folder / "trees.jsonl"), "said": lines}


def main() -> None:
    """Run all, print what differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("other", type=Path, metavar="OTHER_CHECKOUT")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), metavar="NAME")
    parser.add_argument("--json", type=Path, metavar="FILE")
    words = parser.parse_args()
    results: dict[str, Any] = {}
    for case in words.only:
        found = []
        for checkout in (HERE, words.other.resolve()):
            with tempfile.TemporaryDirectory() as folder:
                found.append(run(checkout, case, Path(folder)))
        ours, others = found
        differ = sorted(k for k in ours.keys() | others.keys() if ours.get(k) != others.get(k))
        results[case] = {"compared": len(ours), "differ": differ}
        print(f"{case:<10} {len(ours):4} compared, {len(differ)} differ  {', '.join(differ[:6])}")
    if words.json:
        machine = {"python": platform.python_version(), "machine": platform.machine()}
        whole = {"command": "bench/alike.py", **machine, "cases": results}
        words.json.write_text(json.dumps(whole, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
