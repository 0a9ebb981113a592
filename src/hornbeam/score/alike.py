"""Which answers a rule calls equal: what votes, Hit@k, pools and early stops count together.

Equality of a rule need not be transitive (0.333333 is 1/3, and so is 0.33333333), so classes are
made in the order of the answers: each joins the first class whose first member it equals. A prefix
of the answers has the same classes. Answers of equal keys are equal for certain and compared once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

from hornbeam.answers.numerals import Number, same_number
from hornbeam.engine.request import Barrier
from hornbeam.protocols import Opinions
from hornbeam.score.checker_pool import NoVerdict, Pool
from hornbeam.score.rules import RewardSettings, answer_key, answer_text, number_of
from hornbeam.score.spelling import core, in_words, readings
from hornbeam.search.choose import Same, candidates
from hornbeam.search.vote import ALIKE
from hornbeam.tree.nodes import Tree

BATCH = 25  # answers that a checker compares in the time of one check

Key = Hashable


class Alike:
    """The classes that a rule sorts answers into. Third-party checkers as for `RewardSettings`."""

    def __init__(self, settings: RewardSettings) -> None:
        self.settings = settings
        self.key = answer_key(settings.compares)
        self._pool = Pool("symbolic", settings.workers, settings.seconds)

    async def same(self, answers: Sequence[Any]) -> Same:
        """A function that gives equal answers among these the same class."""
        texts: dict[Key, str] = {}
        for answer in answers:
            text = answer_text(answer)
            if text is not None:
                texts.setdefault(self.key(answer), text)
        found = await self._classes(list(texts.values()))
        class_of: dict[Key, Hashable] = dict(zip(texts, found))

        def same(answer: Any) -> Hashable:
            key = self.key(answer)
            return class_of.get(key, key)

        return same

    async def of_trees(self, trees: Iterable[Tree]) -> list[Same]:
        """Such a function for the answers of each tree."""
        answers = [[tree.nodes[i].answer for i in candidates(tree)] for tree in trees]
        return await asyncio.gather(*map(self.same, answers))

    async def aclose(self) -> None:
        """End the checker's processes."""
        await self._pool.aclose()

    async def _classes(self, texts: Sequence[str]) -> list[int]:
        """For each text the place of the first one of its class."""
        rule = self.settings.compares
        if rule not in ("numeric", "symbolic"):
            return list(range(len(texts)))
        numbers = [number_of(rule, text) for text in texts]
        known = _by_number(numbers)
        if rule == "numeric" or all(k is not None for k in known):
            return [place if k is None else k for place, k in enumerate(known)]
        return await self._checked(texts, known)

    async def _checked(self, texts: Sequence[str], known: Sequence[int | None]) -> list[int]:
        """Classes by the checker, among all but those that it cannot read in time."""
        by_words = [k is None and in_words(core(text)) is not None for text, k in zip(texts, known)]
        first = [k for k in range(len(texts)) if known[k] in (None, k) and not by_words[k]]
        out = [place if k is None else k for place, k in enumerate(known)]
        for tried in (first, None):
            if tried is None:  # one of them hangs, or kills its process: find out which
                alone = [await self._try([texts[k]], [known[k]]) for k in first]
                tried = [k for k, found in zip(first, alone) if found is not None]
            if len(tried) < 2:
                return out
            found = await self._try([texts[k] for k in tried], [known[k] for k in tried])
            if found is not None:
                places = {k: tried[j] for k, j in zip(tried, found)}
                return [places.get(k, k) for k in out]
        return out

    async def _try(self, texts: Sequence[str], known: Sequence[int | None]) -> list[int] | None:
        request = {"texts": [readings(text) for text in texts], "known": known}
        try:
            seconds = self.settings.seconds * (1 + len(texts) // BATCH)
            return list(await self._pool.ask(request, seconds))
        except NoVerdict:
            return None


def _by_number(numbers: Sequence[Number | None]) -> list[int | None]:
    """For each number the place of the first that it equals; None for what is no number."""
    out: list[int | None] = []
    firsts: list[tuple[int, Number]] = []
    for place, number in enumerate(numbers):
        if number is None:
            out.append(None)
            continue
        found = next((k for k, first in firsts if same_number(number, first)), None)
        if found is None:
            firsts.append((place, number))
        out.append(place if found is None else found)
    return out


class AlikeGuide:
    """Column "alike": the class of every answer, for strategies that count answers as they come."""

    def __init__(self, alike: Alike) -> None:
        self.column, self.barrier = ALIKE, Barrier()
        self._alike, self._one = alike, asyncio.Lock()

    def most(self, tree: Tree, nodes: Sequence[int]) -> int:
        """Nothing is run that costs tokens."""
        return 0

    async def judge(self, tree: Tree, nodes: Sequence[int]) -> Opinions:
        """The class of each node that ends in an answer, those that came before keep theirs."""
        async with self._one:
            column = tree.column(ALIKE)
            firsts: dict[float, Any] = {}
            for i, place in enumerate(column):
                if place is not None:
                    firsts.setdefault(place, tree.nodes[i].answer)
            new = [i for i in nodes if tree.nodes[i].done and not tree.nodes[i].error]
            new = [i for i in new if answer_text(tree.nodes[i].answer) is not None]
            same = await self._alike.same([*firsts.values(), *(tree.nodes[i].answer for i in new)])
            for i in new:
                mine = same(tree.nodes[i].answer)
                place = next((p for p, a in firsts.items() if same(a) == mine), float(len(firsts)))
                column[i] = place
                firsts.setdefault(place, tree.nodes[i].answer)
            return Opinions([column[i] for i in nodes])

    def forget(self, tree: Tree) -> None:
        """Nothing is kept."""

    async def aclose(self) -> None:
        """Nothing of its own is held."""
