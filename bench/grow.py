"""How fast trees grow, the engine left out: scripted answers, one process, one core.

Prints steps (nodes) a second for three shapes of program, the cost of a node at 100,000 nodes of
one tree against one at 1,000, and the memory of a node.

    python bench/grow.py [--quick] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import platform
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from hornbeam.chat import assistant, user
from hornbeam.engine.request import Sampling
from hornbeam.engine.scripted import Scripted
from hornbeam.episode.program import Episode
from hornbeam.grow.effects import Speaker
from hornbeam.grow.grower import Grower
from hornbeam.protocols import Program
from hornbeam.search import Branch, Independent, Strategy
from hornbeam.store.database import TreeKey
from hornbeam.tree.nodes import Tree
from hornbeam.tree.task import Task
from hornbeam.workers.local_workers import LocalWorkers, inline

TURNS = 4
SAMPLING = Sampling(max_tokens=32)


async def talk(task: Task, ep: Episode) -> str:
    """Four asks, each after the whole conversation so far."""
    messages = [user(task.question)]
    for _ in range(TURNS):
        reply = await ep.ask("a", messages)
        messages += [assistant(reply.text), user("go on")]
    return reply.text


async def act(task: Task, ep: Episode) -> str:
    """Four asks, each followed by a tool call."""
    messages = [user(task.question)]
    for _ in range(TURNS):
        reply = await ep.ask("a", messages)
        seen = await ep.call("look", word=reply.text)
        messages += [assistant(reply.text), user(seen)]
    return reply.text


@inline
def look(word: str) -> str:
    """A tool that answers at once."""
    return f"seen {word}"


def grower(program: Program, strategy: Strategy) -> Grower:
    engine = Scripted(lambda prompt, rng: f"step {rng.randrange(1000)}")
    agents = {"a": Speaker(engine, SAMPLING)}
    return Grower(program, agents, strategy, tools=LocalWorkers({"look": look}))


def grow(how: Grower, trees: int) -> list[Tree]:
    task = Task("t", "What now?").to_json()
    starts = [(TreeKey("bench", 0, i), Tree(task, seed=i)) for i in range(trees)]
    return asyncio.run(how.grow_all(starts, at_once=16))


def timed(make: Callable[[], list[Tree]]) -> tuple[float, int]:
    """(seconds, nodes) of one growth."""
    gc.collect()
    start = time.perf_counter()
    grown = make()
    return time.perf_counter() - start, sum(len(tree) - 1 for tree in grown)


def rates(repeats: int, trees: int) -> dict[str, list[float]]:
    """Steps a second of each shape, `repeats` times, interleaved."""
    shapes = {
        "independent, asks": (talk, Independent(n=8)),
        "independent, asks and calls": (act, Independent(n=8)),
        "branch 2,2,2, asks and calls": (act, Branch(trunks=2, nodes=2, rounds=2)),
    }
    out: dict[str, list[float]] = {name: [] for name in shapes}
    for _ in range(repeats):
        for name, (program, strategy) in shapes.items():
            seconds, nodes = timed(partial(grow, grower(program, strategy), trees))
            out[name].append(nodes / seconds)
    return out


def cost(nodes: int, repeats: int) -> list[float]:
    """Microseconds a node, growing one tree of so many nodes (repeated to equal total work)."""
    out = []
    for _ in range(repeats):
        how = grower(talk, Independent(n=nodes // TURNS))
        seconds, count = timed(partial(grow, how, 1))
        out.append(1e6 * seconds / count)
    return out


def memory(nodes: int) -> float:
    """Bytes a node of one grown tree, its 32-byte ids and log-probs included."""
    how = grower(talk, Independent(n=nodes // TURNS))
    gc.collect()
    tracemalloc.start()
    grown = grow(how, 1)
    gc.collect()
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return held / (len(grown[0]) - 1)


def summary(values: list[float]) -> dict[str, float]:
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work")
    args = parser.parse_args()
    large = 10_000 if args.quick else 100_000
    rounds = 2 if args.quick else 5
    grow(grower(act, Independent(n=8)), 4)  # warm up
    speeds = {name: summary(v) for name, v in rates(rounds, 20 if args.quick else 100).items()}
    small = summary(cost(1_000, 10 if args.quick else 40))
    big = summary(cost(large, 1 if args.quick else 3))
    held = memory(large // 10)
    result: dict[str, Any] = {
        "command": "python bench/grow.py" + (" --quick" if args.quick else ""),
        "python": platform.python_version(),
        "steps_per_second": speeds,
        "microseconds_per_node": {"1000": small, str(large): big},
        "ratio_of_medians": big["median"] / small["median"],
        "bytes_per_node": held,
    }
    print(f"{'steps a second':32} {'min':>9} {'median':>9} {'max':>9}")
    for name, row in speeds.items():
        print(f"{name:32} {row['min']:9,.0f} {row['median']:9,.0f} {row['max']:9,.0f}")
    print(f"\ncost of a node: {small['median']:.1f} us at 1,000 nodes of one tree,", end=" ")
    print(f"{big['median']:.1f} us at {large:,}: {result['ratio_of_medians']:.2f} x")
    print(f"memory of a node: {held:,.0f} bytes (ids and log-probs of 9 tokens included)")
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
