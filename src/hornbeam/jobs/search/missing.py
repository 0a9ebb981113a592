"""Readings that cannot be: what a method of a search needs, and its engine or a pool does not tell.

Such a method is left out before anything is paid for it, and marked in the result; the others are
searched. Where none would be left the search is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from hornbeam.assembly.guides import with_parts
from hornbeam.engine.engine_checks import gives_logprobs
from hornbeam.engine.request import Sampling
from hornbeam.errors import RecipeError
from hornbeam.protocols import Engine
from hornbeam.recipe.sections import GuideSection
from hornbeam.search import Strategy
from hornbeam.search.choose import Chooser, candidates, lacks_logprobs
from hornbeam.tree.nodes import Tree

NO_LOGPROBS = "log-probs are missing"  # of a part of the answers, or of all
OF_LOGPROBS = {"likelihood", "log_ratio"}  # kinds of guides
READ_IDS = ("prm", "orm", "log_ratio")
ENGINE_GIVES_NONE = "it reads log-probs, which the engine does not give for such samples"
Guides = Mapping[str, GuideSection]


class Method(Protocol):
    """What is left out is named by its method and its label."""

    @property
    def title(self) -> str:
        """The method, and its label where it has several points."""
        ...


M = TypeVar("M", bound=Method)


class LeftOut:
    """What was left out of a result and why, each told once as it is found."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.reasons: dict[str, str] = {}
        self._say = say

    def __bool__(self) -> bool:
        return bool(self.reasons)

    def add(self, title: str, why: str) -> None:
        """One more."""
        if title not in self.reasons:
            self.reasons[title] = why
            self._say(f"{title}: left out, {why}")

    def without(self, methods: Iterable[M], why: Callable[[M], str]) -> list[M]:
        """Those for which `why` is "". Raises `RecipeError` where none is left."""
        kept = []
        for method in methods:
            if reason := why(method):
                self.add(method.title, reason)
            else:
                kept.append(method)
        if not kept:
            title, reason = next(iter(self.reasons.items()))
            raise RecipeError(
                f"none of the recipe's methods can be searched here: {title}: {reason}"
            )
        return kept

    @property
    def result(self) -> dict[str, Any]:
        """As results have it; {} of nothing."""
        rows = [{"method": title, "why": why} for title, why in self.reasons.items()]
        return {"left_out": rows} if rows else {}


def reads_logprobs(guides: Guides, how: Strategy, choose: Chooser, columns: Iterable[str]) -> bool:
    """Whether growth, choice or a guide of these columns goes by log-probs of what was sampled."""
    kinds = {guides[column].kind for column in with_parts(guides, columns)}
    return how.logprobs or choose.logprobs or bool(kinds & OF_LOGPROBS)


def reads_ids(guides: Guides, columns: Iterable[str]) -> str:
    """The first of these columns whose guide reads token ids of its model; "" of none."""
    needed = with_parts(guides, columns)
    return next((c for c in needed if guides[c].kind in READ_IDS), "")


def no_ids(column: str) -> str:
    """Why a guide cannot read what an engine without a tokenizer says."""
    return (
        f"guides.{column} reads token ids, and the engine has none of its model:"
        " name its folder as engine.tokenizer"
    )


def all_give_logprobs(engines: Iterable[tuple[Engine, Sampling]]) -> bool:
    """Whether each of these engines tells log-probs of what it samples like this."""
    return all(gives_logprobs(engine, sampling) for engine, sampling in engines)


def largest_id(trees: Iterable[Tree]) -> int:
    """The largest token id of trees; 0 without any."""
    parts = (part for t in trees for node in t.nodes for part in (node.prompt, node.tokens))
    return max((max(part) for part in parts if part), default=0)


def has_logprobs(guides: Guides, column: str, trees: Sequence[Tree]) -> bool:
    """Whether grown trees hold the log-probs that the guide of a column reads, if it reads any."""
    if all(guides[c].kind not in OF_LOGPROBS for c in with_parts(guides, [column])):
        return True
    return not any(node.tokens and not node.logprobs for tree in trees for node in tree.nodes)


def why_unreadable(choose: Chooser, trees: Sequence[Tree]) -> str:
    """Why a choice cannot be read off grown trees, or ""; be there an answer to choose or not."""
    lacks = (lacks_logprobs(t, leaf) for t in trees for leaf in candidates(t) or t.leaves())
    return NO_LOGPROBS if choose.logprobs and any(lacks) else ""
