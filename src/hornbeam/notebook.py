"""The synchronous door: trees from a script or a notebook, without a recipe or a run folder."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from hornbeam.effects import Speaker
from hornbeam.engine.base import Engine
from hornbeam.grow import Grower
from hornbeam.keys import TreeKey
from hornbeam.ledger import NO_BUDGET, Budget, Ledger, warning_of_state
from hornbeam.program import Program
from hornbeam.search import Independent, Strategy
from hornbeam.tasks.base import Task
from hornbeam.tree import Tree
from hornbeam.workers.local import LocalWorkers

Score = Callable[[Task, Any], float | None]


class FunctionScorer:
    """Scores a leaf by a function of its task and its answer; column "reward"."""

    column = "reward"

    def __init__(self, score: Score) -> None:
        self._score = score

    async def score(self, tree: Tree, nodes: Sequence[int]) -> list[float | None]:
        """One entry a node; `None` for episodes that failed."""
        task = Task.from_json(tree.task)
        leaves = [tree.nodes[i] for i in nodes]
        return [None if leaf.error else self._score(task, leaf.answer) for leaf in leaves]

    async def aclose(self) -> None:
        """Nothing is held."""


def grow_trees(
    program: Program,
    tasks: Sequence[Task],
    agents: Mapping[str, Engine | Speaker],
    strategy: Strategy | None = None,
    *,
    score: Score | None = None,
    tools: Mapping[str, Callable[..., Any]] = {},
    budget: Budget = NO_BUDGET,
    seed: int = 0,
) -> list[Tree]:
    """One grown tree for each task, in canonical order, scored into column "reward".

    `agents` says which engine speaks under which name, `strategy` where trees grow (8 independent
    episodes by default). Works inside a running event loop too, as notebooks have one. Raises
    `BudgetSpent`; failures of single episodes stand at their leaves.
    """
    speakers = {
        name: who if isinstance(who, Speaker) else Speaker(who) for name, who in agents.items()
    }
    scorer = None if score is None else FunctionScorer(score)

    async def run() -> list[Tree]:
        told = warning_of_state(lambda entries: None, tools, warnings.warn)
        grower = Grower(
            program,
            speakers,
            strategy or Independent(),
            scorer,
            LocalWorkers(tools),
            Ledger(budget, sink=told, lasts=False),
        )
        starts = [
            (TreeKey("grown", 0, number), Tree(task.to_json(), seed=seed + number))
            for number, task in enumerate(tasks)
        ]
        return await grower.grow_all(starts)

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(run())
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, run()).result()
