"""Chunk-reset of StepWiser (arXiv 2508.19229): a step that is judged bad is dropped and drawn anew.

One episode grows a step at a time. Episode numbers are places: (step on the way, attempt).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pydantic import Field

from hornbeam.protocols import Fork, State
from hornbeam.search.strategy import Stepwise, restore
from hornbeam.search.values import best, worth
from hornbeam.tree.nodes import Column, Tree


@dataclass(slots=True)
class _Way:
    """How far the answer has come: accepted nodes, and the attempts at the next one."""

    accepted: list[int] = field(default_factory=list)
    tried: list[int] = field(default_factory=list)
    ended: bool = False


class Reset(Stepwise):
    """Accept a step when `column` is above `threshold`, else draw it again (METHODS 5).

    After `attempts` draws the one of the highest value stays; a step without a value is never
    accepted at once, a failed one never stays. Ends where the answer does, after `depth` steps, or
    where all attempts at a step failed.
    """

    attempts: int = Field(5, ge=1)
    threshold: float = 0.0
    depth: int = Field(64, ge=1)

    def leaves(self) -> int:
        """The most episodes a grown tree can have: every step drawn so often as it may be."""
        return self.attempts * self.depth

    def ask(self, tree: Tree, state: State) -> list[Fork]:
        """One more attempt at the next step, when the last one has come back."""
        if state.memo is None:
            state.memo = _Way()
        way: _Way = state.memo
        while not way.ended:
            episode = len(way.accepted) * self.attempts + len(way.tried)
            if episode in state.results:
                self._update(way, tree, state.results[episode])
            else:
                at = way.accepted[-1] if way.accepted else 0
                return [] if episode in state.asked else [Fork(episode, at, 1)]
        return []

    def may_fork(self, tree: Tree, state: State, node: int) -> bool:
        """At the last accepted step and at the attempts at the next one."""
        way: _Way | None = state.memo
        if way is None or not node:
            return True
        asked = tree.nodes[node].origin.episode >= len(way.accepted) * self.attempts
        return not way.ended and (asked or node == way.accepted[-1])

    def columns(self, tree: Tree) -> dict[str, Column]:
        """Column "kept": 1 at the steps that stayed, `None` elsewhere."""
        state = restore(tree, self.steps)
        self.ask(tree, state)
        kept: Column = [None] * len(tree)
        for i in state.memo.accepted:
            kept[i] = 1.0
        return {"kept": kept}

    def _update(self, way: _Way, tree: Tree, node: int) -> None:
        """An attempt has come back: it stays, or the next one is made, or the best of all stays."""
        way.tried.append(node)
        stays = self._good(tree, node)
        if stays:
            chosen = [node]
        elif len(way.tried) == self.attempts:
            draw = f"{tree.seed}:reset:{len(way.accepted)}"
            chosen = best(tree, way.tried, self.column, 1, draw)
        else:
            return
        way.tried = []
        way.accepted += chosen
        done = not chosen or tree.nodes[chosen[0]].done
        way.ended = done or len(way.accepted) >= self.depth

    def _good(self, tree: Tree, node: int) -> bool:
        """Whether a step is accepted at once."""
        value = worth(tree, node, self.column)
        return bool(best(tree, [node], self.column, 1, "")) and (
            value is not None and value > self.threshold
        )
