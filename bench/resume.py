"""Kills a run with SIGKILL at random moments, resumes it, compares it with one never stopped.

    python bench/resume.py [--kills 5] [--seed 0] [--json FILE]

"exact": the final weights are equal bit for bit. "keep": all finished nodes that stood in the store
at a kill are in the final trees, and every step trained once, on the tasks of the unstopped run.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from hornbeam.store import Store

RECIPE = Path(__file__).parents[1] / "recipes" / "tiny.toml"
SETS = ["run.steps=6", "run.tasks=4", "run.eval_every=3", "run.checkpoint_every=2"]
SETS += ["run.eval_start=false", "sft.count=200", "sft.epochs=2", "run.threads=1"]


def start(folder: Path, mode: str) -> subprocess.Popen[bytes]:
    """A run in a process of its own."""
    sets = [part for one in [*SETS, f"run.resume={mode}"] for part in ("--set", one)]
    command = [sys.executable, "-m", "hornbeam.cli.main", "train", str(RECIPE), "--out"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    quiet = subprocess.DEVNULL
    return subprocess.Popen([*command, str(folder), *sets], stdout=quiet, env=environment)


def finish(folder: Path, mode: str) -> float:
    """Run to the end; the seconds it took."""
    began = time.perf_counter()
    if code := start(folder, mode).wait():
        raise SystemExit(f"the run in {folder} ended with code {code}")
    return time.perf_counter() - began


def facts(folder: Path) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """Finished nodes of the store by tree, episode and step: what was asked, said and called."""
    found: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    if not (folder / "run.db").exists():
        return found
    with Store(folder, read_only=True) as store:
        for key in store.keys():  # noqa: SIM118
            for n in store.read(key).tree.nodes[1:]:
                found[(*key, n.episode, n.step)] = (n.ask, n.seed, list(n.tokens), n.calls, n.done)
    return found


def tasks(folder: Path) -> dict[str, str]:
    """Tree -> task."""
    with Store(folder, read_only=True) as store:
        return {str(key): store.read(key).tree.task["id"] for key in store.keys()}  # noqa: SIM118


def steps(folder: Path) -> list[int]:
    """Trained steps as the metrics tell."""
    rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [row["step"] for row in rows if row["kind"] == "train"]


def weights(folder: Path) -> dict[str, bytes]:
    """The final weights, as they lie on the disk."""
    return {p.name: p.read_bytes() for p in sorted((folder / "final").glob("*.safetensors"))}


def count(folder: Path) -> int:
    """Nodes in the store of a run that may be running."""
    try:
        with closing(sqlite3.connect(f"file:{folder / 'run.db'}?mode=ro", uri=True)) as db:
            return int(db.execute("select count(*) from nodes").fetchone()[0])
    except sqlite3.Error:  # not there yet
        return 0


def killed(folder: Path, mode: str, moments: list[int]) -> tuple[int, int]:
    """Kill a run at each count of nodes, then let it end; (kills, finished nodes lost)."""
    kills, old = 0, {}
    for moment in moments:
        process = start(folder, mode)
        while process.poll() is None and count(folder) < moment:
            time.sleep(0.01)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
        before = facts(folder)
        print(f"{mode}: killed at {moment} nodes, {len(before)} finished ones kept", flush=True)
        old.update({repr(name): repr(fact) for name, fact in before.items()})
    finish(folder, mode)
    after = {repr(name): repr(fact) for name, fact in facts(folder).items()}
    return kills, sum(after.get(name) != fact for name, fact in old.items())


def main() -> None:
    """Both modes; exit code 1 where a promise is not kept."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rng = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch) / "whole"
        seconds = finish(whole, "exact")
        out: dict[str, Any] = {"seconds": seconds, "kills": given.kills}
        for mode in ("exact", "keep"):
            folder = Path(scratch) / mode
            total = count(whole)
            moments = sorted(rng.randrange(1, total * 19 // 20) for _ in range(given.kills))
            kills, lost = killed(folder, mode, moments)
            good = steps(folder) == steps(whole) and tasks(folder) == tasks(whole)
            told = {"moments": moments, "kills": kills, "lost": lost, "steps and tasks": good}
            good = good and kills == given.kills and not (lost and mode == "keep")
            if mode == "exact":
                told["equal weights"] = weights(folder) == weights(whole) != {}
                good = good and told["equal weights"]
            out[mode] = {**told, "good": good}
            print(f"{mode}: {out[mode]}", flush=True)
    if given.json:
        given.json.write_text(json.dumps(out, indent=1) + "\n")
    sys.exit(not all(out[mode]["good"] for mode in ("exact", "keep")))


if __name__ == "__main__":
    main()
