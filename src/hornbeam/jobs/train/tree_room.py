"""Which trees of a run may grow now: at most so many at once, those of later steps when rows free.

A step's own trees come first, then those of an evaluation beside them. Where the run grows ahead,
a tree of a step to come begins once fewer trees grow than a step has: it takes the rows that ended
trees leave empty, and those of the present step keep theirs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hornbeam.store.keys import TreeKey


class TreeRoom:
    """Room for `at_once` trees; for those of steps after the present one while < `tasks` grow."""

    def __init__(self, at_once: int, tasks: int) -> None:
        self.at_once, self.tasks = at_once, tasks
        self.growing = 0
        self._present = 0
        self._waiting: list[tuple[TreeKey, asyncio.Future[None]]] = []

    def begin(self, step: int) -> None:
        """The trees of this step are due now."""
        self._present = step
        self._admit()

    @asynccontextmanager
    async def tree(self, key: TreeKey) -> AsyncIterator[None]:
        """The block begins when the tree of this key may grow."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((key, future))
        self._admit()
        try:
            await future
            yield
        finally:
            self.growing -= not future.cancelled()
            self._admit()

    def _admit(self) -> None:
        """Let those begin for whom there is room, in order."""
        self._waiting = [(key, future) for key, future in self._waiting if not future.done()]
        for key, future in sorted(self._waiting, key=lambda each: self._rank(each[0])):
            ahead = self._ahead(key)
            if self.growing >= (min(self.at_once, self.tasks) if ahead else self.at_once):
                return
            self.growing += 1
            future.set_result(None)

    def _ahead(self, key: TreeKey) -> bool:
        return key.stage == "train" and key.step > self._present

    def _rank(self, key: TreeKey) -> tuple[bool, bool, TreeKey]:
        """Steps that are due, then evaluations, then steps to come."""
        return self._ahead(key), key.stage != "train", key
