"""`python hostile_run.py PART FOLDER`: grows or scores a hostile task between honest ones.

`FOLDER/mine.py` holds the part. What came of the tasks is JSON on standard output, alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from hornbeam.chat import user
from hornbeam.cli.job_setup import results_alone
from hornbeam.engine.scripted import Scripted
from hornbeam.episode.program import Episode, Limits
from hornbeam.errors import ToolError
from hornbeam.grow.grower import Grower
from hornbeam.grow.speakers import Speaker
from hornbeam.own.own_code import load_module
from hornbeam.score.checker_pool import NoVerdict, Pool
from hornbeam.score.reward_function import RewardFunction
from hornbeam.search import Independent
from hornbeam.store.keys import TreeKey
from hornbeam.tree.nodes import Node, Tree
from hornbeam.tree.task import Task
from hornbeam.workers.local_workers import LocalWorkers
from hostile_parts import PARTS, Part

SECONDS = 2.0  # for a call, a program's own steps, a reward
QUESTIONS = ("honest", "hostile", "frank")


async def caller(task: Task, ep: Episode) -> Any:
    """A program that calls the tool, then asks."""
    try:
        got = await ep.call("tool", x=task.question)
    except ToolError as error:
        got = f"error: {error}"
    await ep.ask("solver", [user(task.question)])
    return got


async def grown(part: Part, folder: Path) -> dict[str, Any]:
    """By question, the answer and the error of an episode."""
    mine = load_module(folder / "mine.py")
    program: Any = caller if part.kind == "tool" else mine.program
    tools = {"tool": mine.tool} if part.kind == "tool" else {}
    limits = {"tool_seconds": SECONDS, "program_seconds": SECONDS}
    known = {name: value for name, value in limits.items() if name in Limits.model_fields}
    workers = LocalWorkers(tools, seconds=SECONDS)
    grower = Grower(
        program,
        {"solver": Speaker(Scripted(lambda prompt, rng: "one"))},
        Independent(n=1),
        tools=workers,
        limits=Limits(**known),
    )
    starts = [
        (TreeKey("train", 0, n), Tree(Task(f"t{n}", question).to_json(), seed=n))
        for n, question in enumerate(QUESTIONS)
    ]
    try:
        trees = await grower.grow_all(starts)
    finally:
        await workers.aclose()
    return {question: told(tree) for question, tree in zip(QUESTIONS, trees)}


def told(tree: Tree) -> dict[str, Any]:
    """How the episode of a tree of one ended."""
    leaf = tree.nodes[-1]
    answer = str(leaf.answer)
    error = leaf.error or (answer[7:] if answer.startswith("error: ") else "")
    return {"answer": answer[:400], "error": error, "nodes": len(tree.nodes)}


async def scored(folder: Path) -> dict[str, Any]:
    """By question, the reward, or why there is none."""
    pool = Pool("", 1, SECONDS)
    lines: list[str] = []
    rule = RewardFunction("mine.py:score", {}, folder, pool, lines.append)
    found: dict[str, Any] = {}
    try:
        for question in QUESTIONS:
            tree = Tree(Task("t", question).to_json(), seed=0)
            tree.nodes.append(Node(0, answer="one", done=True))
            try:
                verdict = await rule.reward(tree, 1, "one", "one")
                found[question] = {"answer": str(verdict.reward), "error": "", "nodes": 2}
            except NoVerdict as reason:
                line = lines[0] if lines else ""
                found[question] = {"answer": "", "error": line or reason.kind, "nodes": 2}
    finally:
        await pool.aclose()
    return found


def main() -> None:
    """Run one part."""
    part, folder = PARTS[sys.argv[1]], Path(sys.argv[2])
    if part.memory:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        most = used + part.memory
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    before = os.getcwd(), signal.getsignal(signal.SIGTERM)
    with results_alone():
        found = asyncio.run(scored(folder) if part.kind == "score" else grown(part, folder))
    after = os.getcwd(), signal.getsignal(signal.SIGTERM)
    print(
        json.dumps(
            {"tasks": found, "place": before[0] == after[0], "signals": before[1] == after[1]}
        )
    )


if __name__ == "__main__":
    main()
    with contextlib.suppress(ImportError):  # as the command ends
        from hornbeam.workers.left_behind import end_threads

        end_threads(0, [threading.main_thread()])
