"""When the calls of a growing tree were made: of models and of tools, for who shows them."""

from __future__ import annotations

import time
from array import array
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hornbeam.episode.seams import Piece, Place
from hornbeam.grow.effects import EpisodeEffects
from hornbeam.protocols import TimedCall
from hornbeam.store.keys import TreeKey
from hornbeam.tree.nodes import Tree

T = TypeVar("T")
Grown = Callable[[TreeKey, Tree, Sequence[TimedCall]], None]  # hears of a grown tree


@dataclass(slots=True)
class TimedEffects(EpisodeEffects):
    """Effects that note each call as it ends, in `made`; one that is only replayed is none."""

    made: list[TimedCall] = field(default_factory=list)

    async def sample(
        self, agent: str, context: array[int], sampling: Mapping[str, Any], place: Place
    ) -> list[Piece]:
        """As below, noted."""
        facts = {"kind": "chat", "name": agent, "read": len(context)}
        run = EpisodeEffects.sample(self, agent, context, sampling, place)
        return await self._noted(run, place, facts, _said)

    async def tool(
        self, name: str, arguments: Mapping[str, Any], place: Place, refused: str = ""
    ) -> Any:
        """As below, noted."""
        facts = {"kind": "tool", "name": name, "given": arguments}
        run = EpisodeEffects.tool(self, name, arguments, place, refused)
        return await self._noted(run, place, facts, lambda result: {"said": result})

    async def _noted(
        self,
        run: Awaitable[T],
        place: Place,
        facts: dict[str, Any],
        result_of: Callable[[T], dict[str, Any]],
    ) -> T:
        begin = time.time_ns()
        facts |= {"episode": place.episode, "turn": place.turn, "scope": place.scope}
        try:
            result = await run
            facts |= result_of(result)
            return result
        except Exception as error:
            facts["error"] = f"{type(error).__name__}: {error}".split("\n", 1)[0]
            raise
        finally:
            self.made.append(TimedCall(begin=begin, end=time.time_ns(), **facts))


def _said(pieces: Sequence[Piece]) -> dict[str, Any]:
    text = "".join(piece.text for piece in pieces)
    count = sum(len(piece.tokens) for piece in pieces)
    return {"said": text, "sampled": count, "finish": pieces[-1].finish}
