"""`python ending_run.py START`: a run whose agents never end, for who kills it."""

import asyncio
import sys
from pathlib import Path

from hornbeam.engine.scripted import Scripted
from hornbeam.gateway.agent_program import AgentCommand, AgentProgram
from hornbeam.grow.effects import Speaker
from hornbeam.grow.grower import Grower
from hornbeam.search import Independent
from hornbeam.store.database import TreeKey
from hornbeam.tree.nodes import Tree
from hornbeam.tree.task import Task

AGENT = Path(__file__).with_name("hostile_agents.py")


async def main(start):
    program = AgentProgram(AgentCommand(command=f"python {AGENT} {{task}}", start=start))
    grower = Grower(program, {"solver": Speaker(Scripted("one"))}, Independent(n=2))
    task = Task("t", "never_ends")
    try:
        await grower.grow(TreeKey("train", 0, 0), Tree(task.to_json()))
    finally:
        await program.aclose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
