"""Step-level beam search: SBS(B1, B2) of MASPRM (arXiv 2510.24803), and DVTS.

Both grow in levels of one node an episode. Episode numbers are places: (level, place in the level),
so a tree does not hang on the order in which episodes come back. Finished beams leave gaps.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from pydantic import Field

from hornbeam.protocols import Fork, State
from hornbeam.search.strategy import Stepwise, restore
from hornbeam.search.values import best
from hornbeam.tree.nodes import Column, Tree


@dataclass(slots=True)
class _Beams:
    """One beam search on its way: the forks of its newest level, and what it kept before them."""

    number: int
    many: int
    first: int  # steps that it sampled from the task
    level: int = 0
    kept: list[int] = field(default_factory=list)
    forks: list[Fork] = field(default_factory=list)
    returned: int = 0  # how many of the forks, from the first on, have come back


class _Levels(Stepwise):
    """What both have in common: `searches` of `kept` beams each, `width` new steps a beam.

    Each search begins with one beam, the empty one.
    """

    width: int = Field(5, ge=1)
    depth: int = Field(32, ge=1)

    @abstractmethod
    def _sizes(self) -> tuple[int, int]:
        """(searches side by side, beams that each keeps)."""

    def _begins(self, asked: Mapping[int, int]) -> int:
        """How many first steps each search samples from the task."""
        return self.width

    def leaves(self) -> int:
        """The most episodes a grown tree can have: the first steps, then all beams."""
        searches, beams = self._sizes()
        return searches * (self._begins({}) + beams * self.width * (self.depth - 1))

    def ask(self, tree: Tree, state: State) -> list[Fork]:
        """The forks that the newest level of each search still lacks."""
        if state.memo is None:
            state.memo = self._start(state.asked)
        forks: list[Fork] = []
        for search in state.memo:
            self._advance(search, tree, state.results)
            forks += (f for f in search.forks[search.returned :] if f.episode not in state.asked)
        return forks

    def may_fork(self, tree: Tree, state: State, node: int) -> bool:
        """At the newest level of its search, until that has come back and the next is asked for."""
        if state.memo is None or not node:
            return True
        episode = tree.nodes[node].origin.episode
        return any(episode == fork.episode for search in state.memo for fork in search.forks)

    def columns(self, tree: Tree) -> dict[str, Column]:
        """Column "kept": 1 at the nodes that were kept last, `None` elsewhere."""
        state = restore(tree, self.steps)
        self.ask(tree, state)
        kept: Column = [None] * len(tree)
        for search in state.memo:
            for i in search.kept:
                kept[i] = 1.0
        return {"kept": kept}

    def _start(self, asked: Mapping[int, int]) -> list[_Beams]:
        """Every search samples its first steps from the task."""
        searches, beams = self._sizes()
        first = self._begins(asked)
        return [
            _Beams(k, beams, first, forks=[Fork(k * first + e, 0, 1) for e in range(first)])
            for k in range(searches)
        ]

    def _advance(self, search: _Beams, tree: Tree, results: Mapping[int, int]) -> None:
        """Go on to the next level as long as all of the newest one have come back."""
        while search.forks:
            while search.returned < len(search.forks):
                if search.forks[search.returned].episode not in results:
                    return
                search.returned += 1
            new = [results[fork.episode] for fork in search.forks]
            finished = [i for i in search.kept if tree.nodes[i].done]
            draw = f"{tree.seed}:beam:{search.number}:{search.level}"
            search.kept = best(tree, finished + new, self.column, search.many, draw)
            search.level, search.returned = search.level + 1, 0
            live = [i for i in search.kept if not tree.nodes[i].done]
            search.forks = self._forks(search, live) if search.level < self.depth else []

    def _forks(self, search: _Beams, nodes: Iterable[int]) -> list[Fork]:
        """`width` forks of one node each from every beam."""
        searches, beams = self._sizes()
        before = (search.level - 1) * searches + search.number
        first = searches * search.first + before * beams * self.width
        starts = [node for node in nodes for _ in range(self.width)]
        return [Fork(first + place, node, 1) for place, node in enumerate(starts)]


class Beam(_Levels):
    """SBS(B1, B2): `beams` B1 are kept, each samples `width` B2 next steps (METHODS 4).

    At every level all candidates are judged: the new steps by their newest value (`column`), and
    the finished beams among the kept ones by theirs. The best B1 stay; a candidate without a value
    is below all, a failed one never stays, ties are drawn. Ends when all that is kept is finished,
    or after `depth` levels.

    At the first level one beam stands there, the empty one: B2 steps are sampled from the task.
    `first = "all"` samples B1 B2 there, as if B1 beams stood at the task; a tree that was begun so
    goes on so.
    """

    beams: int = Field(3, ge=1)
    first: Literal["width", "all"] = "width"
    later: ClassVar[Mapping[str, Any]] = MappingProxyType({"first": "all"})

    def _begins(self, asked: Mapping[int, int]) -> int:
        every = self.beams * self.width
        begun = any(asked.get(e) == 0 for e in range(self.width, every))
        return every if begun or self.first == "all" else self.width

    def _sizes(self) -> tuple[int, int]:
        return 1, self.beams


class Dvts(_Levels):
    """Diverse verifier tree search: `subtrees` greedy beams side by side (Beeching et al. 2024).

    Each subtree samples `width` next steps, keeps the one of highest value (`column`) and goes on
    from there, whatever the others do: SBS(1, `width`), `subtrees` times.
    """

    subtrees: int = Field(4, ge=1)

    def _sizes(self) -> tuple[int, int]:
        return self.subtrees, 1
