"""Trees per minute with growth in this process and in Ray actors, and what a killed actor loses.

    python bench/cluster.py [--steps 3] [--tasks 16] [--growers 1 2] [--json FILE]

The tiny recipe is warm-started once, and trained from there for `--steps` steps: once here, once
with each number of actors on a cluster of this machine, and once more with the most actors of which
one is killed with SIGKILL while the second step grows. Rates are of all steps but the first, in
which actors start.

Exactly once: the store holds every tree of every step, done, no node twice, and as many model calls
were paid as its nodes hold. Exit code 1 where that is not so.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import threading
import time
from io import StringIO
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from hornbeam.assembly.plan import plan
from hornbeam.assembly.progress import Progress
from hornbeam.errors import StoreError
from hornbeam.jobs.train.training import Run
from hornbeam.recipe.recipe import load_recipe
from hornbeam.store.database import Store, TreeKey
from resume import machine

RECIPE = Path(__file__).parents[1] / "recipes" / "tiny.toml"
SETS = ("run.eval_every=0", "run.eval_start=false", "tasks.eval.0.count=4")


class Quiet(Progress):
    """A watch that keeps its lines."""

    def __init__(self) -> None:
        self.text = StringIO()
        super().__init__(Console(file=self.text, width=200))


def actors() -> list[psutil.Process]:
    """The processes of actors that were started from here."""
    below = psutil.Process().children(recursive=True)
    return [p for p in below if any("ray::_Actor" in word for word in p.cmdline()[:1])]


def kill_one(folder: Path, trees: int, killed: list[int], over: threading.Event) -> None:
    """Kill an actor when so many trees have come home and more are out."""
    while not over.wait(0.05):
        try:
            with Store(folder, read_only=True) as store:
                enough = len(store.keys("train")) >= trees
        except StoreError:  # it is not there yet
            continue
        if enough and (there := actors()):
            os.kill(there[0].pid, signal.SIGKILL)
            killed.append(there[0].pid)
            return


def counted(folder: Path, steps: int, tasks: int) -> dict[str, Any]:
    """Whether the store holds everything once."""
    with Store(folder, read_only=True) as store:
        keys = store.keys("train")
        left = [store.read(key) for key in keys]
        paid = store.totals("train").get("model_calls", 0)
    nodes = [node for each in left for node in each.tree.nodes[1:]]
    names = {
        (i, node.origin.episode, node.origin.step)
        for i, t in enumerate(left)
        for node in t.tree.nodes[1:]
    }
    wanted = [TreeKey("train", step, number) for step in range(steps) for number in range(tasks)]
    asks = len(
        {(i, n.origin.episode, n.origin.turn) for i, t in enumerate(left) for n in t.tree.nodes[1:]}
    )
    return {
        "trees": len(keys),
        "once": keys == wanted and all(each.done for each in left) and len(names) == len(nodes),
        "model_calls_paid": paid,
        "model_calls_held": asks,
    }


def warm(scratch: Path, count: int) -> None:
    """A model that has seen demonstrations, in warm/final."""
    recipe = load_recipe(RECIPE, [*SETS, "run.steps=0", f"sft={{count={count}, lr=2e-3}}"])
    asyncio.run(Run(recipe, plan(recipe, RECIPE.parent), scratch / "warm", Quiet()).go())


def arm(growers: int, steps: int, tasks: int, scratch: Path, kill: bool = False) -> dict[str, Any]:
    """One run: its rate, what its store holds, what died."""
    sets = [*SETS, f"run.steps={steps}", f"run.tasks={tasks}", f"model.name={scratch}/warm/final"]
    if growers:
        sets += ["workers.kind=ray", f"workers.growers={growers}"]
    recipe = load_recipe(RECIPE, sets).model_copy(update={"sft": None})
    folder, progress, killed = scratch / f"{growers}{kill}", Quiet(), list[int]()
    over = threading.Event()
    given = (folder, tasks + tasks // 4, killed, over)
    killer = threading.Thread(target=kill_one, args=given, daemon=True)
    if kill:
        killer.start()
    began = time.perf_counter()
    try:
        asyncio.run(Run(recipe, plan(recipe, RECIPE.parent), folder, progress).go())
    finally:
        over.set()
    seconds = time.perf_counter() - began
    with Store(folder, read_only=True) as store:
        rows = [row for row in store.metrics() if row["kind"] == "train"]
    grow = [row["seconds_grow"] for row in rows]
    return {
        "workers": f"ray, {growers}" if growers else "local",
        "killed": len(killed),
        "deaths_told": progress.text.getvalue().count("An actor died"),
        "trees_per_minute": 60 * tasks * (steps - 1) / sum(grow[1:]),
        "seconds_grow": grow,
        "seconds": seconds,
        **counted(folder, steps, tasks),
    }


def main() -> None:
    """Run the arms, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=16)
    parser.add_argument("--shown", type=int, default=300, help="demonstrations of the warm start")
    parser.add_argument("--growers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--json", type=Path)
    result = parser.parse_args()
    arms = [(0, False), *((n, False) for n in result.growers), (max(result.growers), True)]
    rows = []
    print(f"{'workers':<10}{'trees/min':>11}{'first s':>9}{'killed':>8}{'trees':>7}  once")
    with tempfile.TemporaryDirectory() as scratch:
        warm(Path(scratch), result.shown)
        for growers, kill in arms:
            row = arm(growers, result.steps, result.tasks, Path(scratch), kill)
            rows.append(row)
            once = row["once"] and row["model_calls_paid"] == row["model_calls_held"]
            print(
                f"{row['workers']:<10}{row['trees_per_minute']:>11.1f}{row['seconds_grow'][0]:>9.1f}"
                f"{row['killed']:>8}{row['trees']:>7}  {'yes' if once else 'NO'}",
                flush=True,
            )
    sound = all(r["once"] and r["model_calls_paid"] == r["model_calls_held"] for r in rows)
    sound = sound and rows[-1]["killed"] == 1
    if result.json:
        found = {"machine": machine(), "steps": result.steps, "tasks": result.tasks, "arms": rows}
        result.json.write_text(json.dumps({**found, "sound": sound}, indent=1) + "\n")
    sys.exit(0 if sound else 1)


if __name__ == "__main__":
    main()
