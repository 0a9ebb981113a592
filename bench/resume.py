"""Kills a run with SIGKILL at random moments, resumes it, and holds it against one never stopped.

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
import subprocess
import sys
import tempfile
import time
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


def killed(folder: Path, mode: str, moments: list[float]) -> int:
    """Kill a run at these seconds after each start, then let it end; finished nodes lost."""
    lost = 0
    for moment in moments:
        process = start(folder, mode)
        try:
            process.wait(moment)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        before = facts(folder)
        print(f"{mode}: killed after {moment:.1f} s, {len(before)} nodes kept", flush=True)
        if mode == "keep":
            kept = folder.with_suffix(".json")
            old = json.loads(kept.read_text()) if kept.exists() else {}
            kept.write_text(json.dumps({**old, **{repr(k): repr(v) for k, v in before.items()}}))
    finish(folder, mode)
    if mode == "keep":
        after = {repr(k): repr(v) for k, v in facts(folder).items()}
        old = json.loads(folder.with_suffix(".json").read_text())
        lost = sum(after.get(name) != fact for name, fact in old.items())
    return lost


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
            moments = [rng.uniform(0.3, 0.95) * seconds for _ in range(given.kills)]
            lost = killed(folder, mode, moments)
            good = steps(folder) == steps(whole) and tasks(folder) == tasks(whole) and not lost
            told = {"moments": moments, "lost": lost, "steps and tasks": good}
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
