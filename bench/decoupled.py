"""Kills two trainers that share only a database, at random moments, and looks at what was lost.

    python bench/decoupled.py [--kills 10] [--seed 0] [--store postgresql sqlite] [--json FILE]

The run is bench/decoupled.toml: two policies that speak in turn, each trained by a process of its
own. First it is left alone, to see how many rows it writes. Then every policy's process is killed
with SIGKILL `--kills` times, each time when a random number of rows of its equal part stands in the
database, and started again at once. PostgreSQL is a private server (the tests' own).

No rollout lost: every node and tool result that stood in the database at a kill stands in the final
trees unchanged, one model call was paid a node, and the tasks are those of the run left alone.
None trained twice: every policy has learned from each step once, and its weights equal, bit for
bit, those of a process that learns from the stored trees without a stop.
Both reach the step count. Exit code 1 where one of these is not so.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shlex
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers  # noqa: F401  # so that the forks need not import it
from safetensors.numpy import load_file

import hornbeam.jobs.train.decoupled.decoupled_run  # noqa: F401
import resume_world
from hornbeam.cli.main import main as hornbeam_command
from hornbeam.store.database import Store
from hornbeam.store.leases import leases
from hornbeam.store.request_queue import RequestQueue
from hornbeam.store.shared_database import SharedStore
from resume import Facts, machine, name, vars_of

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from postgres import Server

RECIPE = Path(__file__).with_name("decoupled.toml")
POLICIES = ("asks", "tells")
STEPS = 5
LIMIT = 1800  # seconds a run may take


def command(folder: Path, policy: str, store: str) -> None:
    """`hornbeam train --policy`, what it says beside the folder."""
    os.environ[resume_world.LOG] = str(folder.with_suffix(".calls"))
    with folder.with_suffix(f".{policy}.log").open("a", encoding="utf-8") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    sys.argv = ["hornbeam", "train", str(RECIPE), "--out", str(folder)]
    sys.argv += ["--policy", policy, "--store", store]
    hornbeam_command()


class Run:
    """Both trainers of a run."""

    def __init__(self, folder: Path, store: str) -> None:
        self.folder, self.store, self.began = folder, store, time.perf_counter()
        self.jobs: dict[str, Any] = {}

    def start(self, policy: str) -> None:
        """Start or resume a trainer."""
        fork = multiprocessing.get_context("fork")
        self.jobs[policy] = fork.Process(target=command, args=(self.folder, policy, self.store))
        self.jobs[policy].start()

    def kill(self, policy: str) -> None:
        """SIGKILL."""
        self.jobs[policy].kill()
        self.jobs[policy].join()

    def alive(self) -> bool:
        """Whether one still runs; a bad end of any ends the bench."""
        if time.perf_counter() - self.began > LIMIT:
            for job in self.jobs.values():
                job.kill()
            raise SystemExit(f"{self.folder.name} took more than {LIMIT} s")
        for policy, job in self.jobs.items():
            if job.exitcode:
                said = self.folder.with_suffix(f".{policy}.log").read_text()
                for other in self.jobs.values():
                    other.kill()
                raise SystemExit(f"{policy} ended with code {job.exitcode}:\n{said[-2000:]}")
        return any(job.is_alive() for job in self.jobs.values())

    def finish(self) -> None:
        """Wait for the end of both."""
        while self.alive():
            time.sleep(0.05)


def rows(store: Store) -> int:
    """Rows of nodes and metrics."""
    sums = "select (select count(*) from nodes) + (select count(*) from metrics)"
    with store._engine.begin() as db:
        return int(db.exec_driver_sql(sums).scalar_one())


def nodes(store: Store) -> tuple[Facts, Facts]:
    """All closed nodes and all tool results, by name whatever their order."""
    closed: Facts = {}
    results: Facts = {}
    for key in store.keys():  # noqa: SIM118
        tree, _, waiting = store.read(key)
        for i, node in enumerate(tree.nodes):
            above = tree.nodes[node.parent] if i else node
            context = list(tree.context(i)) if i else []
            if node.finish:
                fact = (above.origin.episode, above.origin.step, context, *vars_of(node))
                closed[name(key, node)] = repr(fact)
        for node in [*tree.nodes, *waiting]:
            for at, call in enumerate(node.calls):
                results[f"{name(key, node)} {at}"] = repr(call)
    return closed, results


def calls(store: Store) -> tuple[Counter[tuple[str, int, int]], Counter[tuple[str, int, int]]]:
    """Model calls that were paid, and those that nodes hold, by tree, episode and turn."""
    paid: Counter[tuple[str, int, int]] = Counter()
    held: Counter[tuple[str, int, int]] = Counter()
    for key in store.keys():  # noqa: SIM118
        for node in store.read(key).tree.nodes[1:]:
            held[str(key), node.origin.episode, node.origin.turn] += node.finish != "end"
    for entry in store.entries():  # last: the other trainer may go on meanwhile
        if entry.kind == "model_calls":
            paid[entry.tree, entry.episode, entry.turn] += int(entry.amount)
    return paid, +held


def weights(folder: Path) -> dict[str, Any]:
    """The final weights of all policies: bits by policy, file and name."""
    return {
        f"{policy} {path.name} {key}": array.tobytes()
        for policy in POLICIES
        for path in sorted((folder / "final" / policy).glob("*.safetensors"))
        for key, array in load_file(path).items()
    }


def tasks(store: Store) -> list[str]:
    return [f"{key} {store.read(key).tree.task['id']}" for key in store.keys()]  # noqa: SIM118


def doing(store: SharedStore) -> str:
    """What the run was doing, read from the database."""
    keys = store.keys()
    steps = "/".join(str(len(RequestQueue(store, policy).trained())) for policy in POLICIES)
    growing = [key for key in keys if not store.read(key).done]
    if growing:
        return f"steps {steps}, growing {growing[0].stage} {growing[0].step}"
    return f"steps {steps}, " + ("training or between" if keys else "before the first tree")


def killed(run: Run, store: SharedStore, total: int, kills: int, rng: random.Random) -> list[Any]:
    """Kill each trainer so often, start it again, and look at what stood there each time."""
    moments = sorted(
        (total * 0.97 * (part + rng.random()) / kills, policy)
        for policy in POLICIES
        for part in range(kills)
    )
    sat = dict.fromkeys(POLICIES, 0)  # sessions that were killed

    def lease(policy: str) -> int:
        found = {row.policy: row.session for row in leases(store) if row.owner}
        return int(found.get(policy, 0))

    seen = []
    for moment, policy in moments:
        while run.alive() and not (rows(store) >= moment and lease(policy) > sat[policy]):
            time.sleep(0.01)
        alive, sat[policy] = run.jobs[policy].is_alive(), lease(policy)
        run.kill(policy)
        closed, results = nodes(store)
        paid, held = calls(store)
        kept = {place: paid[place] for place in held}
        seen.append(Seen(policy, doing(store), alive, closed, results, kept))
        run.start(policy)
        print(f"{len(seen):3}  {policy:6} {seen[-1].moment:44} {len(closed):5}", flush=True)
    return seen


@dataclass
class Seen:
    """A kill, and all that stood in the database then."""

    policy: str
    moment: str
    alive: bool
    nodes: Facts
    results: Facts
    paid: dict[tuple[str, int, int], int]


def trial(folder: Path, place: str, whole: list[str], total: int, given: Any, seed: int) -> Any:
    """A killed run held against its promises; "good" tells each by name."""
    run, began = Run(folder, place), time.perf_counter()
    with closing(SharedStore(place, print)) as store:
        for policy in POLICIES:
            run.start(policy)
        seen = killed(run, store, total, given.kills, random.Random(seed))
        run.finish()
        seconds = time.perf_counter() - began
        closed, results = nodes(store)
        paid, held = calls(store)
        trained = {policy: list(RequestQueue(store, policy).trained()) for policy in POLICIES}
        steps = [row["step"] for row in store.metrics() if row["kind"] == "train"]
        again = Run(folder.with_name(folder.name + "-again"), place)
        for policy in POLICIES:  # one after the other: each learns from the stored trees alone
            again.start(policy)
            again.finish()
        good = {
            "all kills met a running trainer": all(each.alive for each in seen),
            "tasks as in the run left alone": tasks(store) == whole != [],
            "all trees are grown": all(store.read(key).done for key in store.keys()),  # noqa: SIM118
            "nodes at the kills kept": all(each.nodes.items() <= closed.items() for each in seen),
            "tool results at the kills kept": all(
                each.results.items() <= results.items() for each in seen
            ),
            "one model call paid a node": paid == held,
            "what was kept is not paid again": all(
                each.paid.items() <= paid.items() for each in seen
            ),
            "every step in the metrics once": sorted(steps) == list(range(STEPS)),
            "every policy trained every step once": all(
                each == list(range(STEPS)) for each in trained.values()
            ),
            "weights are of the stored trees": weights(folder) == weights(again.folder) != {},
            "no tree changed by that": nodes(store)[0] == closed,
        }
    return {
        "kills": [{"policy": each.policy, "while": each.moment} for each in seen],
        "nodes": len(closed),
        "nodes in the database at a kill": len(set().union(*(each.nodes for each in seen))),
        "seconds": round(seconds, 1),
        "good": good,
    }


def left_alone(folder: Path, place: str) -> tuple[list[str], int, float]:
    """The tasks, rows and seconds of a run that nobody kills."""
    run, began = Run(folder, place), time.perf_counter()
    for policy in POLICIES:
        run.start(policy)
    run.finish()
    with closing(SharedStore(place, print)) as store:
        return tasks(store), rows(store), round(time.perf_counter() - began, 1)


def main() -> None:
    """Every database with every seed, a table, and the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--kills", type=int, default=10, help="of each trainer")
    parser.add_argument("--seed", type=int, nargs="+", default=[0])
    kinds = ("postgresql", "sqlite")
    parser.add_argument("--store", nargs="+", choices=kinds, default=["postgresql"])
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    trials = []
    for kind in given.store:
        server = Server() if kind == "postgresql" else None
        try:
            with tempfile.TemporaryDirectory() as scratch:
                for seed in [None, *given.seed]:
                    folder = Path(scratch) / ("whole" if seed is None else f"run-{seed}")
                    place = server.database() if server else str(folder)
                    if seed is None:
                        whole, total, alone = left_alone(folder, place)
                        print(f"{kind}: left alone {alone} s, {total} rows", flush=True)
                        continue
                    result = trial(folder, place, whole, total, given, seed)
                    result |= {"store": kind, "seed": seed, "seconds left alone": alone}
                    trials.append(result)
                    for what, good in result["good"].items():
                        print(f"{kind:11}{'yes' if good else 'NO':>3}  {what}", flush=True)
        finally:
            if server:
                server.close()
    if given.json:
        out = {"command": f"bench/decoupled.py {shlex.join(sys.argv[1:])}", **machine()}
        given.json.write_text(json.dumps({**out, "trials": trials}, indent=1) + "\n")
    sys.exit(not all(all(results["good"].values()) for results in trials))


if __name__ == "__main__":
    main()
