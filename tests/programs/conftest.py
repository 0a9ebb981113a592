"""Grows episodes of a program with a scripted engine."""

import asyncio
from collections.abc import Callable, Mapping

import pytest

from hornbeam.engine.scripted import Scripted
from hornbeam.grow.effects import Speaker
from hornbeam.grow.grower import Grower
from hornbeam.protocols import Strategy
from hornbeam.search.independent import Independent
from hornbeam.store.database import TreeKey
from hornbeam.tools.calculator import calculate
from hornbeam.tree.nodes import Tree
from hornbeam.tree.task import Task
from hornbeam.workers.local_workers import LocalWorkers

Grow = Callable[..., Tree]


@pytest.fixture
def grow() -> Grow:
    """`grow(program, task, say, names)`: a tree in which the agents `names` speak a script."""

    def once(
        program,
        task: Task,
        say,
        names: tuple[str, ...] = ("solver",),
        strategy: Strategy = Independent(n=1),
        tools: Mapping[str, Callable] = {"calculator": calculate},
        start: Tree | None = None,
    ) -> Tree:
        engine = say if isinstance(say, Scripted) else Scripted(say)
        agents = {name: Speaker(engine) for name in names}
        grower = Grower(program, agents, strategy, tools=LocalWorkers(tools))
        fresh = start or Tree(task.to_json(), seed=1)
        return asyncio.run(grower.grow(TreeKey("train", 0, 0), fresh))

    return once
