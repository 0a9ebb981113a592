"""What starting an agent costs: episodes a second by new processes, and by forks of a warm one.

    python bench/agent_start.py --python PYTHON [--agents raw_openai openai_agents]
        [--episodes 32] [--json FILE]

PYTHON is an interpreter that has the frameworks. Each episode is one question to a scripted engine
by an agent of bench/agent_files; what is measured is the start. The first episode is not in the
figures: it pays the warm process, whose seconds are told apart. Processor seconds are those of all
agents, without this process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import resource
import sys
import time
from pathlib import Path
from typing import Any

from hornbeam.engine.scripted import Scripted
from hornbeam.gateway.agent_program import AgentCommand, AgentProgram
from hornbeam.grow.effects import Speaker
from hornbeam.grow.grower import Grower
from hornbeam.search import Independent
from hornbeam.store.database import TreeKey
from hornbeam.tree.nodes import Tree
from hornbeam.tree.task import Task

Json = dict[str, Any]


def spent() -> float:
    """Processor seconds of all processes that ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


async def grown(program: AgentProgram, episodes: int) -> float:
    """Seconds that so many episodes take, at once."""
    agents = {"solver": Speaker(Scripted(lambda prompt, rng: "42"))}
    tree = Tree(Task("t", "What is 6 * 7?").to_json(), seed=0)
    began = time.perf_counter()
    grower = Grower(program, agents, Independent(n=episodes))
    grown = await grower.grow(TreeKey("train", 0, 0), tree)
    seconds = time.perf_counter() - began
    if [grown.nodes[i].answer for i in grown.leaves()] != ["42"] * episodes:
        raise SystemExit(f"an agent failed: {[grown.nodes[i].error for i in grown.leaves()]}")
    return seconds


def run(how: AgentCommand, *episodes: int) -> tuple[list[float], float]:
    """Seconds of each of these numbers of episodes by one program, and processor seconds of all."""

    async def grow() -> list[float]:
        program = AgentProgram(how)
        try:
            return [await grown(program, number) for number in episodes]
        finally:
            await program.aclose()

    before = spent()
    return asyncio.run(grow()), spent() - before


def measured(agent: str, start: str, args: argparse.Namespace) -> Json:
    """Figures of one agent, started one way."""
    folder = str(Path(__file__).parent.absolute() / "agent_files")
    command = f"{agent}.py:run"
    how = AgentCommand(command=command, python=args.python, start=start, folder=folder)
    _, one = run(how, 1)
    (first, rest), all_of_them = run(how, 1, args.episodes)
    return {
        "agent": agent,
        "start": start,
        "first_seconds": first,
        "episodes_a_second": args.episodes / rest,
        "processor_seconds_an_episode": (all_of_them - one) / args.episodes,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--agents", nargs="+", default=["raw_openai", "openai_agents"])
    parser.add_argument("--episodes", type=int, default=32)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = []
    print(f"{'':16}{'':8} {'first, s':>9} {'episodes/s':>11} {'CPU s/episode':>14}")
    for agent in args.agents:
        for start in ("process", "fork"):
            row = measured(agent, start, args)
            rows.append(row)
            figures = [value for value in row.values() if isinstance(value, float)]
            print(f"{agent:16}{start:8} {{:9.2f}} {{:11.2f}} {{:14.3f}}".format(*figures))
    if args.json:
        machine = f"{platform.machine()}, {os.cpu_count()} cores"
        said = {"machine": machine, "episodes": args.episodes, "rows": rows}
        args.json.write_text(json.dumps(said, indent=1) + "\n")


if __name__ == "__main__":
    main()
