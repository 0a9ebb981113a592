"""Judges of the tiny world over several seeds: trained by the loop, against what is simpler.

    python bench/judge_seeds.py --out DIR [--seeds 0 1 2 3 4] [--json FILE] [--search]

For every seed: a policy (recipe reset_tiny), labels by rollouts, then judges (recipe judge_tiny):
"rl", trained by GRPO on balanced labels and reasoning first; "sft", the discriminative baseline;
"no cot" and "unbalanced". Each reads held-out solutions step by step; the gold first error is that
of the world's own rule. F1 is ProcessBench's, official grouping. `--search` also runs the recipe's
searches (chunk-reset and others) by the judge "rl". All of it goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from hornbeam import stats
from hornbeam.assembly.judges import judge_engine, judge_settings
from hornbeam.score.judge_guide import JudgeGuide, first_wrong
from hornbeam.score.processbench import Prediction, figures, official
from hornbeam.tasks.word_problems import held_out
from hornbeam.tree.jsonl import read_trees
from hornbeam.tree.nodes import Tree

JUDGES = {
    "rl": [],
    "sft": ["program.cot=false", "run.steps=0", "sft.count=100000"],
    "no cot": ["program.cot=false"],
    "unbalanced": ["tasks.train.0.options.balance=false"],
}
Json = dict[str, Any]


def hornbeam(*words: str) -> None:
    """Run a command; its output is ours."""
    print("$ hornbeam " + " ".join(words), file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "hornbeam.cli.main", *words], check=True)


def options(*sets: str) -> list[str]:
    return [word for item in sets for word in ("--set", item)]


def solution(tree: Tree) -> tuple[Tree, int]:
    """The first trunk of a labelled tree as a tree of its own, and its first wrong step or -1."""
    (leaf,) = [i for i in tree.leaves() if tree.nodes[i].origin.episode == 0]
    path = [0, *tree.path(leaf)]
    nodes = [replace(tree.nodes[i], parent=k - 1) for k, i in enumerate(path)]
    said = [node.text.strip() for node in nodes[1:]]
    gold = tree.task["data"]["gold"]
    wrong = next((k for k, (a, b) in enumerate(zip(said, gold)) if a != b), -1)
    return Tree(tree.task, nodes, {}, tree.seed), wrong


async def judged(folder: Path, trees: list[Tree]) -> Json:
    """F1 of a judge on held-out solutions, and what it read and said."""
    guide = JudgeGuide(judge_engine(folder), judge_settings({}, folder))
    items, tokens = [], 0
    try:
        for number, tree in enumerate(trees):
            path, wrong = solution(tree)
            found, cost = await first_wrong(guide, path)
            items.append(Prediction(str(number), "doors", wrong, found))
            tokens += cost
    finally:
        await guide.aclose()
    result = figures(items, official)
    silent = sum(item.prediction is None for item in items)
    return {"f1": result.f1, "tokens": tokens, "items": len(items), "without_verdict": silent}


def one_seed(folder: Path, seed: int, search: bool) -> Json:
    """Everything for one seed that was not finished yet."""
    world = [f"tasks.{part}.0.{key}" for part in ("train", "eval") for key in ("seed", "options")]
    values = [str(seed), f"{{world={seed}}}"] * 2
    seeded = options(f"run.seed={seed}", *map("=".join, zip(world, values)))
    policy, labels = folder / "policy", folder / "rollouts"
    if not (policy / "final" / "config.json").is_file():
        hornbeam("train", "reset_tiny", "--out", str(policy), *seeded)
    model = ["--model", str(policy / "final")]
    if not (labels / "trees.jsonl").is_file():
        hornbeam("label", "reset_tiny", *model, "--out", str(labels), *seeded)
    trees = list(read_trees(labels / "trees.jsonl"))
    test = [tree for tree in trees if held_out(json.dumps(tree.task["id"]))]
    paths = [f"tasks.{part}.0.path={labels / 'trees.jsonl'}" for part in ("train", "eval")]
    out: Json = {"seed": seed}
    for name, sets in JUDGES.items():
        judge = folder / name.replace(" ", "_")
        if not (judge / "final" / "config.json").is_file():
            result = options(f"run.seed={seed}", f"model.name={policy / 'final'}", *paths, *sets)
            hornbeam("train", "judge_tiny", "--out", str(judge), *result)
        out[name] = asyncio.run(judged(judge / "final", test))
    if search:
        guide = options(f"guides.value.model={folder / 'rl' / 'final'}")
        hornbeam("search", "reset_tiny", *model, "--out", str(folder / "search"), *seeded, *guide)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--search", action="store_true")
    args = parser.parse_args()
    rows = [one_seed(args.out / str(seed), seed, args.search) for seed in args.seeds]
    print(f"{'judge':12} {'F1 %':>6}  by seed; difference to rl with its 95 % interval over seeds")
    table: Json = {}
    for name in JUDGES:
        f1 = [row[name]["f1"] for row in rows]
        differences = [row[name]["f1"] - row["rl"]["f1"] for row in rows]
        interval = stats.student(differences) if len(rows) > 1 and any(differences) else None
        table[name] = {"f1": statistics.mean(f1), "by_seed": f1, "to_rl": interval}
        low, high = interval or (0.0, 0.0)
        result = (
            f" {statistics.mean(differences):+.1f} [{low:+.1f}, {high:+.1f}]" if interval else ""
        )
        print(f"{name:12} {statistics.mean(f1):6.1f}  {' '.join(f'{v:.1f}' for v in f1)}{result}")
    if args.json:
        about = {
            "command": "python bench/judge_seeds.py " + " ".join(sys.argv[1:]),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "judges": table,
            "seeds": rows,
        }
        args.json.write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
