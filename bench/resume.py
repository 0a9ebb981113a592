"""Kills a run with SIGKILL at random moments, resumes it each time, and looks at what it lost.

    python bench/resume.py [--kills 5] [--seed 0 1] [--modes keep exact] [--json FILE]

The run is bench/resume.toml. First it is left alone and timed; then one random moment is drawn from
each equal part of its time, and one run is killed at all of them, resumed after each. A moment is a
state of the database and a delay after it, so it means the same in a run that was stopped before.
Runs are forks of this process, which has imported all: they begin at once.

Both modes: equal tasks in equal order, every step trained once, and weights equal bit for bit to
those of training the stored trees from the beginning without a stop.
"keep": every node and every tool result that stood in the store at a kill stands in the final trees
unchanged, and every call was paid once; tool calls that were run but are in no tree (the tool
writes a file of its own) are those in flight at the kills.
"exact": nodes, metrics and final weights equal those of the run that was left alone.
Exit code 1 where one of these is not so.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import random
import shlex
import shutil
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import transformers  # noqa: F401  # so that the forks need not import it
from safetensors.numpy import load_file

import hornbeam.jobs  # noqa: F401
import resume_world
from hornbeam.cli.main import main as hornbeam_command
from hornbeam.store.database import Store, TreeKey
from hornbeam.tree.nodes import Node

RECIPE = Path(__file__).with_name("resume.toml")
LAST = 0.97  # of the time of a run: no kill is drawn behind it
LIMIT = 300  # seconds a run may take
Facts = dict[str, str]
Paid = dict[str, Counter[tuple[str, int, int]]]


@dataclass(frozen=True)
class Kill:
    """What a kill met; `lost_calls`: tool calls begun so far that no stored node holds."""

    moment: str
    nodes: int
    waiting: int
    lost_calls: int


# --- runs in processes of their own --------------------------------------------------------------


def command(folder: Path, mode: str) -> None:
    """`hornbeam train`, what it says beside the folder."""
    os.environ[resume_world.LOG] = str(folder.with_suffix(".calls"))
    with folder.with_suffix(".log").open("a", encoding="utf-8") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    sys.argv = ["hornbeam", "train", str(RECIPE), "--out", str(folder)]
    sys.argv += ["--set", f"run.resume={mode}"]
    hornbeam_command()


class Job:
    """A run that may be killed."""

    def __init__(self, folder: Path, mode: str) -> None:
        self.folder = folder
        fork = multiprocessing.get_context("fork")
        self.process = fork.Process(target=command, args=(folder, mode))
        self.process.start()
        self.began = time.perf_counter()

    def seconds(self) -> float:
        """How long it runs."""
        now = time.perf_counter() - self.began
        if now > LIMIT:
            self.kill()
            raise SystemExit(f"the run in {self.folder.name} took more than {LIMIT} s")
        return now

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.join()

    def finish(self) -> None:
        """Wait for the end, which must be a good one."""
        while self.process.is_alive():
            self.seconds()
            self.process.join(0.1)
        if self.process.exitcode:
            said = self.folder.with_suffix(".log").read_text()
            raise SystemExit(f"a run ended with code {self.process.exitcode}:\n{said[-2000:]}")


def progress(folder: Path) -> int:
    """Rows of nodes and metrics in the database of a run that may be running."""
    try:
        with closing(sqlite3.connect(f"file:{folder / 'run.db'}?mode=ro", uri=True)) as db:
            sums = "select (select count(*) from nodes) + (select count(*) from metrics)"
            return int(db.execute(sums).fetchone()[0])
    except sqlite3.Error:  # not there yet
        return 0


def timeline(folder: Path, mode: str) -> list[tuple[float, int]]:
    """A run that is left alone: (seconds, progress) whenever progress was made, and its end."""
    job, line = Job(folder, mode), [(0.0, 0)]
    while job.process.is_alive():
        if (now := progress(folder)) != line[-1][1]:
            line.append((job.seconds(), now))
        job.process.join(0.01)
    job.finish()
    return [*line, (job.seconds(), line[-1][1])]


def moments(
    line: list[tuple[float, int]], kills: int, rng: random.Random
) -> list[tuple[int, float]]:
    """A random moment of each equal part of a run's time, as (progress, seconds after it)."""
    out, end = [], line[-1][0] * LAST
    for part in range(kills):
        at = end * (part + rng.random()) / kills
        since, rows = max(entry for entry in line[:-1] if entry[0] <= at)
        out.append((rows, at - since))
    return out


def killed(folder: Path, mode: str, moment: tuple[int, float]) -> bool:
    """Start or resume a run and kill it at a moment, but not before it got on by one row."""
    rows, delay = moment
    job, at_start = Job(folder, mode), progress(folder)
    rows = max(rows, at_start + 1) if at_start else rows
    while job.process.is_alive() and progress(folder) < rows:
        job.seconds()
        job.process.join(0.01)
    job.process.join(delay)
    alive = job.process.is_alive()
    job.kill()
    return alive


# --- what a folder holds -------------------------------------------------------------------------


def nodes(folder: Path) -> tuple[Facts, Facts, int]:
    """All closed nodes, all tool results, by name whatever their order, and how many are open."""
    closed: Facts = {}
    results: Facts = {}
    count = 0
    if not progress(folder):
        return closed, results, count
    with Store(folder, read_only=True) as store:
        for key in store.keys():  # noqa: SIM118
            tree, _, waiting = store.read(key)
            count += len(waiting)
            for i, node in enumerate(tree.nodes):
                above = tree.nodes[node.parent] if i else node
                context = list(tree.context(i)) if i else []
                fact = (above.origin.episode, above.origin.step, context, *vars_of(node))
                if node.finish:  # node 0 is the task's own, and empty at first
                    closed[name(key, node)] = repr(fact)
            for node in [*tree.nodes, *waiting]:
                for at, call in enumerate(node.calls):
                    results[f"{name(key, node)} {at}"] = repr(call)
    return closed, results, count


def is_task(node: Node) -> bool:
    return node.parent < 0


def name(key: TreeKey, node: Node) -> str:
    return f"{key} {'task' if is_task(node) else (node.origin.episode, node.origin.step)}"


def vars_of(node: Node) -> list[Any]:
    """The fields of a node that do not hang on the order in which siblings came."""
    placing = {"parent", "prefix", "keep", "prompt"}
    return [getattr(node, field) for field in node.__slots__ if field not in placing]


def where(folder: Path) -> str:
    """What a killed run was doing, read from what it left."""
    if not progress(folder):
        return "before the first row"
    if list(folder.glob("checkpoints/.new-*")):
        return "writing a checkpoint"
    with Store(folder, read_only=True) as store:
        rows, keys = store.metrics(), store.keys()
        growing = [key for key in keys if not store.read(key).done]
    trained = [row["step"] for row in rows if row["kind"] == "train"]
    if growing:
        stage, step, _ = growing[0]
        return f"growing step {step + 1}" if stage == "train" else f"evaluation ({stage} {step})"
    if not (folder / "checkpoints").is_dir():
        return f"warm start, update {len(rows)}" if rows else "before the warm start"
    grown = {key.step for key in keys if key.stage == "train"}
    if grown - set(trained):
        return f"training step {max(grown) + 1}"
    return f"between phases, after {len(trained)} steps"


def metrics(folder: Path) -> list[dict[str, Any]]:
    """Rows of metrics without what hangs on time, on what was in the cache and on kills."""
    rows = map(json.loads, (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    kept = ("seconds", "prompt_tokens", "tool_calls", "sampled_tokens", "redone_tokens")
    return [{k: v for k, v in row.items() if not k.startswith(kept)} for row in rows]


def tasks(folder: Path) -> list[str]:
    """The tasks of the trees, in order."""
    with Store(folder, read_only=True) as store:
        return [f"{key} {store.read(key).tree.task['id']}" for key in store.keys()]  # noqa: SIM118


def weights(folder: Path) -> dict[str, tuple[Any, ...]]:
    """The final weights: bits, type and shape by file and name."""
    found = {}
    for path in sorted((folder / "final").glob("*.safetensors")):
        for key, array in load_file(path).items():
            found[f"{path.name} {key}"] = (array.tobytes(), str(array.dtype), array.shape)
    return found


def ledger(folder: Path) -> Paid:
    """Model and tool calls that were paid, by tree, episode and turn; forgotten ones left out."""
    found: Paid = {"model_calls": Counter(), "tool_calls": Counter()}
    if progress(folder):
        with Store(folder, read_only=True) as store:
            for entry in store.entries():
                if entry.kind in found and not entry.tree.startswith("lost"):
                    place = entry.tree, entry.episode if entry.turn >= 0 else -1, entry.turn
                    found[entry.kind][place] += int(entry.amount)
    return found


def needed(folder: Path) -> Paid:
    """Model and tool calls that the nodes in the store hold, by the same places."""
    found: Paid = {"model_calls": Counter(), "tool_calls": Counter()}
    if progress(folder):
        with Store(folder, read_only=True) as store:
            for key in store.keys():  # noqa: SIM118
                tree, _, waiting = store.read(key)
                for node in [*tree.nodes, *waiting]:
                    own, came = is_task(node), node.origin
                    place = str(key), *((-1, -1) if own else (came.episode, came.turn))
                    found["model_calls"][place] += not own and node.finish != "end"
                    found["tool_calls"][place] += len(node.calls)
    return {kind: +counts for kind, counts in found.items()}


def calls_run(folder: Path) -> tuple[int, int]:
    """Tool calls that the tool itself saw (begun, ended), all parts of the run together."""
    path = folder.with_suffix(".calls")
    result = Counter(path.read_text().split() if path.is_file() else ())
    return result["begin"], result["end"]


# --- the promises --------------------------------------------------------------------------------


def again(folder: Path, mode: str) -> Path:
    """The same trees trained from the beginning without a stop: a copy without checkpoints."""
    copy = folder.with_name(folder.name + "-again")
    shutil.copytree(folder, copy)
    for part in ("checkpoints", "final"):
        shutil.rmtree(copy / part)
    Job(copy, mode).finish()
    return copy


@dataclass
class Seen:
    """Kills, and all that stood in the store at one of them."""

    kills: list[Kill]
    nodes: Facts
    results: Facts
    paid: Paid  # what was paid for them by then


def killed_run(folder: Path, mode: str, at: list[tuple[int, float]]) -> Seen:
    """One run, killed at each moment, resumed, and left alone in the end."""
    seen = Seen([], {}, {}, {"model_calls": Counter(), "tool_calls": Counter()})
    for moment in at:
        if not killed(folder, mode, moment):
            print(f"{mode:6}the run had ended before this kill", flush=True)
            continue
        closed, results, waiting = nodes(folder)
        lost = calls_run(folder)[0] - len(results)
        kill = Kill(where(folder), len(closed), waiting, lost)
        seen.kills.append(kill)
        seen.nodes.update(closed)
        seen.results.update(results)
        entered, held = ledger(folder), needed(folder)
        for kind, sums in seen.paid.items():
            sums.update({place: entered[kind][place] for place in held[kind] if place not in sums})
        number, counts = len(seen.kills), f"{kill.nodes:5}{waiting:6}{lost:6}"
        print(f"{mode:6}{number:3}  {kill.moment:44}{counts}", flush=True)
    Job(folder, mode).finish()
    return seen


def trial(whole: Path, mode: str, seed: int, at: list[tuple[int, float]]) -> dict[str, Any]:
    """Hold a killed run against the one left alone; "good" tells each promise by name."""
    folder = whole.with_name(f"{mode}-{seed}")
    seen = killed_run(folder, mode, at)
    closed, results, _ = nodes(folder)
    steps = [row["step"] for row in metrics(folder) if row["kind"] == "train"]
    paid, held = ledger(folder), needed(folder)
    first = again(folder, mode)
    good = {
        "all kills met a running run": len(seen.kills) == len(at),
        "tasks as in the run left alone": tasks(folder) == tasks(whole) != [],
        "every step in the metrics once": steps == list(range(len(steps))) != [],
        "one model call paid a node": paid["model_calls"] == held["model_calls"],
        "weights are of the stored trees": weights(folder) == weights(first) != {},
        "no tree changed by that": nodes(first)[0] == closed,
    }
    begun, ended = calls_run(folder)
    excess = (paid["tool_calls"] - held["tool_calls"]).total()
    if mode == "keep":
        good["nodes at the kills kept"] = seen.nodes.items() <= closed.items()
        good["tool results at the kills kept"] = seen.results.items() <= results.items()
        last = seen.kills[-1].lost_calls if seen.kills else 0
        good["what was kept is not paid again"] = all(
            sums.items() <= paid[kind].items() for kind, sums in seen.paid.items()
        )
        good["tool calls lost in flight only"] = begun - len(results) == last
    else:
        good["nodes as in the run left alone"] = closed == nodes(whole)[0]
        good["metrics as in the run left alone"] = metrics(folder) == metrics(whole)
        good["weights as in the run left alone"] = weights(folder) == weights(whole)
    return {
        "kills": [asdict(kill) for kill in seen.kills],
        "nodes": len(closed),
        "nodes in the store at a kill": len(seen.nodes),
        "tool results in the store at a kill": len(seen.results),
        "tool calls paid and not kept": excess,
        "tool calls begun, ended, kept": [begun, ended, len(results)],
        "good": good,
    }


def main() -> None:
    """Both modes with every seed, a table, and the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, nargs="+", default=[0])
    parser.add_argument("--modes", nargs="+", choices=("keep", "exact"), default=["keep", "exact"])
    parser.add_argument("--rows", type=int, nargs="+", help="kill at these counts, not at random")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    trials = []
    print(f"{'mode':6}{'no':>3}  {'killed while':44}{'nodes':>5}{'open':>6}{'lost':>6}")
    with tempfile.TemporaryDirectory() as scratch:
        line = timeline(Path(scratch) / "whole", "exact")
        for seed in given.seed:
            rng = random.Random(seed)
            for mode in given.modes:
                chosen = [(rows, 0.0) for rows in given.rows or ()]
                at = chosen or moments(line, given.kills, rng)
                result = trial(Path(scratch) / "whole", mode, seed, at)
                trials.append({"mode": mode, "seed": seed, **result})
                for what, good in result["good"].items():
                    print(f"{mode:6}{'yes' if good else 'NO':>3}  {what}", flush=True)
    if given.json:
        out = {"command": f"bench/resume.py {shlex.join(sys.argv[1:])}", **machine()}
        out["seconds of the run left alone"] = round(line[-1][0], 1)
        given.json.write_text(json.dumps({**out, "trials": trials}, indent=1) + "\n")
    sys.exit(not all(all(results["good"].values()) for results in trials))


def machine() -> dict[str, str]:
    packages = ("hornbeam", "torch", "transformers")
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    cores = f"{platform.machine()}, {os.cpu_count()} cores"
    return {"machine": cores, "versions": f"Python {platform.python_version()}, {versions}"}


if __name__ == "__main__":
    main()
