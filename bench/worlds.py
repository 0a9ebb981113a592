"""What worlds cost: a fork of each kind, forks against calls made again, a whole growth.

One process, no model: scripted answers. Ratios are of readings taken in turns, least, median, most.

    python bench/worlds.py [--quick] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hornbeam.chat import user
from hornbeam.engine.scripted import Scripted
from hornbeam.episode.program import Episode, Limits
from hornbeam.grow.grower import Grower
from hornbeam.grow.speakers import Speaker
from hornbeam.protocols import Fork, Program, State, Strategy
from hornbeam.search import Branch
from hornbeam.store.keys import TreeKey
from hornbeam.store.ledger import Ledger
from hornbeam.tree.nodes import Tree
from hornbeam.tree.task import Task
from hornbeam.workers.local_workers import LocalWorkers, inline, pure
from hornbeam.worlds import FolderWorld, PythonWorld, Snapshots, SqliteWorld, WorldKind
from hornbeam.worlds.folder_copy import shares_blocks
from hornbeam.worlds.scratch import new_place

FILES, BYTES = 1000, 20_000
AUTHOR = ("-c", "user.name=a", "-c", "user.email=a@b")
TASK = Task("t", "?")
KEY = TreeKey("bench", 0, 0)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Least, median and most."""
    return {
        "min": round(min(values), 6),
        "median": round(statistics.median(values), 6),
        "max": round(max(values), 6),
    }


def clocks() -> tuple[float, float]:
    """Wall clock and processor seconds."""
    return time.perf_counter(), time.process_time()


def since(begin: tuple[float, float]) -> tuple[float, float]:
    """What both have gone on since."""
    wall, cpu = clocks()
    return wall - begin[0], cpu - begin[1]


def both(values: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """The spread of both clocks."""
    wall, cpu = zip(*values)
    return {"wall": spread(wall), "cpu": spread(cpu)}


# --- a fork of each kind --------------------------------------------------------------------------


def folder() -> tuple[WorldKind, Any]:
    """A thousand files of 20 kB in a hundred folders."""
    kind = FolderWorld()
    world = kind.open(TASK)
    for n in range(FILES):
        path = world / f"{n % 100}/{n}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(str(n).encode().ljust(BYTES, b"x"))
    return kind, world


def links() -> tuple[WorldKind, Any]:
    """The same by hard links."""
    kind, world = folder()
    return kind.model_copy(update={"copies": "links"}), world


def checkout() -> tuple[WorldKind, Any]:
    """The same as a checkout of a repository, which keeps the objects."""
    kind, world = folder()
    place = new_place("") / "repository"
    world.path.rename(place)
    for words in (["init", "-q"], ["add", "."], [*AUTHOR, "commit", "-qm", "all"]):
        subprocess.run(["git", "-C", str(place), *words], check=True)
    kind = FolderWorld(folder=str(place), copies="worktree")
    return kind, kind.open(TASK)


def state() -> tuple[WorldKind, Any]:
    """A thousand entries of 20 kB of text in all."""
    kind = PythonWorld()
    world = kind.open(TASK)
    world["items"] = {f"key {n}": ["x" * 12, n] for n in range(1000)}
    return kind, world


def database() -> tuple[WorldKind, Any]:
    """Twenty thousand rows, two megabytes."""
    kind = SqliteWorld()
    world = kind.open(TASK)
    world.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, text)")
    world.connection.executemany(
        "INSERT INTO t VALUES (?, ?)", [(n, f"{n}".ljust(90)) for n in range(20_000)]
    )
    return kind, world


KINDS = {
    "folder": folder,
    "folder, links": links,
    "folder, worktree": checkout,
    "python": state,
    "sqlite": database,
}


def forks(readings: int) -> dict[str, Any]:
    """Seconds of a snapshot and of a fork from it, by kind."""
    out = {}
    for name, make in KINDS.items():
        kind, world = make()
        taken: list[tuple[float, float]] = []
        forked: list[tuple[float, float]] = []
        for _ in range(readings):
            begin = clocks()
            found = kind.snapshot(world)
            taken.append(since(begin))
            begin = clocks()
            other = kind.restore(found.data, TASK)
            forked.append(since(begin))
            size = found.size
            kind.close(other)
            kind.drop(found.data)
        kind.close(world)
        out[name] = {"bytes": size, "snapshot": both(taken), "fork": both(forked)}
    return out


# --- forks against calls made again ---------------------------------------------------------------


class AtTheEnd(Strategy):
    """One episode, then `many` forks one after the other from its last step but one."""

    many: int = 8

    def ask(self, tree: Tree, state: State) -> list[Fork]:
        """The next one."""
        if len(state.asked) > len(state.results) or len(state.asked) > self.many:
            return []
        return [Fork(len(state.asked), tree.path(state.results[0])[-2] if state.results else 0)]

    def leaves(self) -> int:
        """All of them."""
        return self.many + 1

    def may_fork(self, tree: Tree, state: State, node: int) -> bool:
        """At steps of the first."""
        return not node or not tree.nodes[node].origin.episode


def walker(turns: int) -> Program:
    """An ask and a call a turn."""

    async def program(task: Task, ep: Episode) -> Any:
        heard = None
        for turn in range(turns):
            await ep.ask("a", [user(f"{turn} {heard}")])
            heard = await ep.call("act", n=turn)
        return heard

    return program


def run(
    turns: int, strategy: Strategy, act: Callable[..., Any], kind: WorldKind | None
) -> tuple[float, dict[str, float]]:
    """Processor seconds of a growth, and what its ledger says."""
    tools, ledger = LocalWorkers({"act": act}), Ledger()
    speakers = {"a": Speaker(Scripted("yes"))}
    limits = Limits(turns=turns + 1)
    worlds = None if kind is None else Snapshots(kind)
    grower = Grower(walker(turns), speakers, strategy, None, tools, ledger, limits, worlds=worlds)
    begin = time.process_time()
    tree = asyncio.run(grower.grow(KEY, Tree(TASK.to_json())))
    took = time.process_time() - begin
    assert not any(node.error for node in tree.nodes), tree.nodes[-1].error
    return took, dict(ledger.totals)


def write(n: int, world: Any) -> int:
    """A file more, by a command."""
    return int(world.run(f"echo {n} > {n}.txt; ls | wc -l").output)


@inline
def put(n: int, world: Any) -> int:
    """An entry more."""
    world[str(n)] = n
    return len(world)


@inline
@pure
def count(n: int) -> int:
    """The same result without a world."""
    return n + 1


def against(depths: Sequence[int], readings: int) -> list[dict[str, Any]]:
    """Seconds of worlds (forks, or calls made again) for eight forks at each depth."""
    rows = []
    for name, act, kind in (("python", put, PythonWorld), ("folder", write, FolderWorld)):
        for depth in depths:
            times: dict[str, list[float]] = {"snapshot": [], "rerun": []}
            for _ in range(readings):
                for how, found in times.items():
                    settings: Any = {"fork": how}
                    _, costs = run(depth, AtTheEnd(), act, kind(**settings))
                    found.append(costs["world_seconds"])
            pairs = zip(times["rerun"], times["snapshot"])
            rows.append(
                {
                    "kind": name,
                    "depth": depth,
                    **{how: spread(found) for how, found in times.items()},
                    "rerun / snapshot": spread([a / b for a, b in pairs]),
                    "least / least": round(min(times["rerun"]) / min(times["snapshot"]), 2),
                }
            )
    return rows


def whole(readings: int) -> dict[str, Any]:
    """A whole growth on Python state against the same with a pure tool, in processor seconds."""
    shape = Branch(trunks=8, nodes=8, rounds=2)
    ratios, first, second = [], [], []
    for _ in range(readings):
        first.append(run(8, shape, count, None)[0])
        second.append(run(8, shape, put, PythonWorld())[0])
        ratios.append(second[-1] / first[-1])
    return {"pure": spread(first), "world": spread(second), "world / pure": spread(ratios)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    readings = 3 if given.quick else 5
    found: dict[str, Any] = {
        "machine": platform.machine(),
        "python": platform.python_version(),
        "blocks are shared": shares_blocks(new_place("")),
        "git": subprocess.run(["git", "--version"], capture_output=True, text=True).stdout.strip(),
        "forks": forks(readings),
        "whole growth": whole(readings * 2 - 1),
        "against": against((2, 8) if given.quick else (2, 4, 8, 16, 32), readings),
    }
    for name, row in found["forks"].items():
        print(f"{name:16} {row['bytes']:>12,} bytes", end="")
        for what in ("snapshot", "fork"):
            cpu, wall = row[what]["cpu"], row[what]["wall"]
            print(
                f"  {what} {cpu['median'] * 1e3:.2f} ms of a core,"
                f" least {wall['min'] * 1e3:.2f} ms",
                end="",
            )
        print()
    ratio = found["whole growth"]["world / pure"]
    print(
        f"whole growth, world / pure: {ratio['median']:.2f}"
        f" ({ratio['min']:.2f} to {ratio['max']:.2f})"
    )
    for row in found["against"]:
        ratio = row["rerun / snapshot"]
        print(
            f"{row['kind']:8} depth {row['depth']:3}: calls again / forks {ratio['median']:6.2f}"
            f" ({ratio['min']:.2f} to {ratio['max']:.2f}), least by least {row['least / least']}"
        )
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
