"""Growing ahead: the trees of steps to come grow while the policy trains on those that are there.

The trees of step s begin to grow once s - k steps have been trained (`run.behind` = k), on a copy
of the weights that takes up new ones between two answers; what is half-grown then goes on with
them, and every node says which version spoke it. A branch in which a node is more than k versions
older than the policy that would learn from it is dropped and counted. Training runs in a thread.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from hornbeam.errors import RecipeError
from hornbeam.recipe.recipe import Recipe
from hornbeam.tree.nodes import INJECTED, Tree

if TYPE_CHECKING:
    from hornbeam.assembly.policies import Policies

Grow = Callable[[int], Awaitable[list[Tree]]]


def check_ahead(recipe: Recipe, decoupled: bool = False) -> None:
    """`RecipeError` for what cannot be while trees grow ahead in this process."""
    if decoupled or not recipe.run.behind:
        return
    if recipe.run.resume == "exact":
        raise RecipeError(
            f"run.behind = {recipe.run.behind}: which weights sampled depends on time, run.resume ="
            ' "exact" needs behind = 0'
        )
    anchor = recipe.anchor
    if anchor is not None and (anchor.refresh or anchor.tracker is not None):
        raise RecipeError(
            f"run.behind = {recipe.run.behind}: anchors that follow training (refresh, tracker)"
            " need behind = 0"
        )


def warn_of_age(policies: Policies, behind: int, warn: Callable[[str], None]) -> None:
    """Say so where nothing weighs that other weights spoke than those that learn."""
    if any(member.policy.loss.weights is None for member in policies):
        warn(
            f"run.behind = {behind}: older weights may have sampled, and no loss corrects that: set"
            ' loss.old = "trainer" and loss.truncate or loss.importance'
        )


class Ahead:
    """The trees of a run's steps, at most `behind` steps ahead of training.

    `take` tells of a step the seconds in which nothing grew, and those in which the trainer waited;
    what lies between steps (evaluation, checkpoints) is in neither.
    """

    def __init__(self, grow: Grow, steps: int, behind: int) -> None:
        self._grow, self._steps, self._behind = grow, steps, behind
        self._growing: dict[int, asyncio.Task[list[Tree]]] = {}
        self._out, self._since, self._idle, self._waited = 0, time.perf_counter(), 0.0, 0.0

    async def trees(self, step: int) -> list[Tree]:
        """The trees of a step, all before it being trained; those of steps to come grow on."""
        self.take()
        for coming in range(step, min(step + self._behind + 1, self._steps)):
            if coming not in self._growing:
                self._growing[coming] = asyncio.create_task(self._grown(coming))
        began = time.perf_counter()
        grown = await self._growing[step]
        self._waited += time.perf_counter() - began
        del self._growing[step]
        return grown

    async def _grown(self, step: int) -> list[Tree]:
        if not self._out:
            self._idle += time.perf_counter() - self._since
        self._out += 1
        try:
            return await self._grow(step)
        finally:
            self._out -= 1
            self._since = time.perf_counter()

    def take(self) -> tuple[float, float]:
        """(seconds in which nothing grew, seconds that the trainer waited) since the last take."""
        now = time.perf_counter()
        if not self._out:
            self._idle += now - self._since
            self._since = now
        waits = self._idle, self._waited
        self._idle = self._waited = 0.0
        return waits

    def idle(self, grown: float, trained: float) -> tuple[float, float]:
        """As `take`: growth and training go on beside each other."""
        return self.take()

    async def aclose(self) -> None:
        """Stop what still grows; what came is in the store."""
        for task in self._growing.values():
            task.cancel()
        await asyncio.gather(*self._growing.values(), return_exceptions=True)
        self._growing.clear()


def drop_stale(trees: Iterable[Tree], policies: Policies, behind: int) -> int:
    """Take the reward from leaves with a node more than `behind` versions old; how many they are.

    Injected nodes are nobody's version. Column `stale` is 1 at such a leaf.
    """
    versions = {agent: m.policy.version for m in policies for agent in m.agents}
    dropped = 0
    for tree in trees:
        old = [i for i, node in enumerate(tree.nodes) if i and _old(tree, i, versions, behind)]
        if not old:
            continue
        below = set(old)
        for leaf in tree.leaves():
            if tree.columns["reward"][leaf] is not None and below & {*tree.path(leaf)}:
                tree.columns["reward"][leaf] = None
                tree.column("stale")[leaf] = 1.0
                dropped += 1
    return dropped


def _old(tree: Tree, i: int, versions: dict[str, int], behind: int) -> bool:
    node = tree.nodes[i]
    spoken = node.origin.version != INJECTED and bool(node.tokens) and node.agent in versions
    return spoken and versions[node.agent] - node.origin.version > behind


def staleness(trees: Sequence[Tree], policies: Policies) -> float:
    """Mean age of what is trained on: versions between sampling a node and learning from it."""
    versions = {agent: m.policy.version for m in policies for agent in m.agents}
    ages = [
        versions[node.agent] - node.origin.version
        for tree in trees
        for node in tree.nodes[1:]
        if node.origin.version != INJECTED and node.tokens and node.agent in versions
    ]
    return sum(ages) / max(1, len(ages))
