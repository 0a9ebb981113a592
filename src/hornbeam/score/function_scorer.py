"""Scores by a function of Python, in this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hornbeam.arguments import short
from hornbeam.errors import ArgumentError, ScoreError
from hornbeam.score.verdict import FIGURE, Judgement, read_verdict
from hornbeam.tree.nodes import Tree
from hornbeam.tree.task import Task

# A number, None for no reward, or a dict of "reward" and figures beside it.
Score = Callable[[Task, Any], float | Mapping[str, float | None] | None]


class FunctionScorer:
    """Scores a leaf by a function of its task and its answer: "reward", and "figure.NAME" each."""

    column = "reward"

    def __init__(self, score: Score) -> None:
        self._score = score

    async def score(self, tree: Tree, nodes: Sequence[int]) -> list[float | None]:
        """One entry a node; `None` for episodes that failed. Raises `ScoreError` for no number."""
        return [each[self.column] for each in await self.verdicts(tree, nodes)]

    async def verdicts(self, tree: Tree, nodes: Sequence[int]) -> list[dict[str, float | None]]:
        """As `score`, with the figures of each node by column."""
        task = Task.from_json(tree.task)
        leaves = [tree.nodes[i] for i in nodes]
        found = [
            Judgement(None) if leaf.error else self._said(task, leaf.answer) for leaf in leaves
        ]
        return [
            {self.column: each.reward} | {FIGURE + k: v for k, v in each.figures.items()}
            for each in found
        ]

    def _said(self, task: Task, answer: Any) -> Judgement:
        """What it says: true is 1, NumPy's and torch's numbers are numbers."""
        value = self._score(task, answer)
        try:
            return read_verdict(value)
        except ArgumentError as error:
            where = f"grow_trees: score of task {task.id!r}, answer {short(answer)}"
            raise ScoreError(f"{where}: {error}") from error

    async def aclose(self) -> None:
        """Nothing is held."""
