"""A value model as a guide: judges steps as trees grow, each token once.

What all waiting episodes ask about, in whatever trees, is gathered and run in one packed forward
pass; what was run before is kept until the tree is grown.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from hornbeam.engine.request import Barrier
from hornbeam.errors import ScoreError
from hornbeam.protocols import Opinions
from hornbeam.tree.nodes import Tree

if TYPE_CHECKING:
    from hornbeam.train.value import ValueModel

HOPS = 8  # turns of the event loop without news after which no client is on its way
Answer = tuple[list[float], int]


@dataclass(slots=True, eq=False)
class _Ask:
    """Nodes of a tree that wait to be read."""

    tree: Tree
    nodes: list[int]
    future: asyncio.Future[Answer]

    @property
    def place(self) -> tuple[Any, ...]:
        """Decides the order in a pass, where arrival must not."""
        node = self.tree.nodes[self.nodes[0]]
        return (
            str(self.tree.task.get("id")),
            self.tree.seed,
            node.origin.episode,
            node.origin.step,
        )


class ValueGuide:
    """Values in [-1, 1] of steps ("steps": a process reward model) or of ended episodes ("ends").

    A value is read at the last token of a node's own sequence. A node without tokens, one that
    failed and one longer than the model's context have none. About `cache_tokens` tokens are kept
    for what is asked next; what was dropped is run again.
    """

    def __init__(
        self,
        model: ValueModel,
        column: str = "value",
        at: Literal["steps", "ends"] = "steps",
        cache_tokens: int = 32768,
    ) -> None:
        from hornbeam.train.frontier import Frontier

        self.model, self.column, self.at = model, column, at
        self.reads_ids = True
        self.barrier = Barrier()
        self._frontier = Frontier(model, cache_tokens)
        self._waiting: list[_Ask] = []
        self._arrivals = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def vocabulary(self) -> int:
        """How many token ids its model knows."""
        return self.model.vocabulary

    def most(self, tree: Tree, nodes: Sequence[int]) -> int:
        """The most tokens that `judge` can run for these nodes, if it is asked next."""
        return self._frontier.new(tree, self._read(tree, nodes))

    async def judge(self, tree: Tree, nodes: Sequence[int]) -> Opinions:
        """Values of these nodes. Raises `ScoreError` where the model's outputs are not finite."""
        read = self._read(tree, nodes)
        if not read:
            return Opinions([None] * len(nodes))
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Ask(tree, read, future))
        self._arrivals += 1
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._serve())
        outputs, tokens = await future
        value = dict(zip(read, map(self.model.value, outputs)))
        return Opinions([value.get(i) for i in nodes], tokens)

    def forget(self, tree: Tree) -> None:
        """Give back what is kept for a tree."""
        self._frontier.forget(tree)

    async def aclose(self) -> None:
        """Give back what is held."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._frontier.clear()

    def _read(self, tree: Tree, nodes: Sequence[int]) -> list[int]:
        """Those of the nodes that have a value, ascending, each once."""
        from hornbeam.train.value_rows import has_value

        return sorted(
            {
                i
                for i in nodes
                if has_value(tree.nodes[i])
                and (self.at == "steps" or tree.nodes[i].done)
                and tree.length(i) <= self.model.context
            }
        )

    async def _serve(self) -> None:
        """Rounds until nobody waits; an error reaches all who do."""
        asks: list[_Ask] = []
        try:
            while self._waiting:
                await self._settle()
                asks, self._waiting = self._waiting, []
                asks = [ask for ask in asks if not ask.future.done()]
                self._round(asks)
        except BaseException as error:
            for ask in asks + self._waiting:
                if not ask.future.done():
                    ask.future.set_exception(self._error(error))
            self._waiting = []
            self._frontier.clear()
            if not isinstance(error, Exception):
                raise
        finally:
            self._task = None

    def _round(self, asks: Sequence[_Ask]) -> None:
        """One packed pass for all who wait."""
        asks = sorted(asks, key=lambda ask: ask.place)
        for ask, answer in zip(asks, self._frontier.read([(a.tree, a.nodes) for a in asks])):
            if all(map(math.isfinite, answer[0])):
                ask.future.set_result(answer)
            else:
                self._frontier.forget(ask.tree)
                ask.future.set_exception(
                    ScoreError(
                        f"{self.model.name}: a value of task {ask.tree.task.get('id')!r} is not"
                        " finite: the value model's weights are damaged"
                    )
                )

    @staticmethod
    def _error(error: BaseException) -> ScoreError:
        wrapped = ScoreError(f"reading values failed: {type(error).__name__}: {error}")
        wrapped.__cause__ = error
        return wrapped

    async def _settle(self) -> None:
        """Wait until no client is busy elsewhere or on its way here."""
        calm = 0
        while calm < HOPS:
            await self.barrier.quiet()
            before = self._arrivals
            await asyncio.sleep(0)
            calm = calm + 1 if self._arrivals == before else 0
