"""A column on trees that were recorded anywhere: by a rule, a fitted value model or a judge."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from hornbeam.assembly.guides import Guides
from hornbeam.chat import Chat, TemplateChat
from hornbeam.chat.rendered import foreign, has_ids, has_text, with_ids
from hornbeam.errors import DataError, ModelError, RecipeError, ScoreError
from hornbeam.jobs.search.answer_pool import judge_tree
from hornbeam.programs.talk import read_answer
from hornbeam.recipe.recipe import Recipe
from hornbeam.score.reward_function import is_function
from hornbeam.score.rules import RewardSettings, RuleScorer, make_scorer, rules
from hornbeam.settings import build, nearest
from hornbeam.tree.nodes import Column, Tree, answered

AT_ONCE = 16  # trees that share a pass
RULES = (*rules, "symbolic", "reasoning_gym")


@dataclass(slots=True)
class ScoreSummary:
    """What was scored: entries, and nodes without one by the reason; trees refused, and why."""

    entries: list[float] = field(default_factory=list)
    without: Counter[str] = field(default_factory=Counter)
    refused: list[str] = field(default_factory=list)
    tokens: int = 0
    rendered: int = 0  # trees whose ids were made out of text
    beside: dict[str, list[float]] = field(default_factory=dict)  # entries of columns beside it

    def line(self, column: str, what: str) -> str:
        """A line a column; `what` is what has an entry: "steps" or "answers"."""
        count, mean = len(self.entries), ""
        if count:
            mean = f", mean {math.fsum(self.entries) / count:.4g}"
        of = count + sum(self.without.values())
        why = "".join(f"; {n} without one: {reason}" for reason, n in self.without.items())
        more = f"; {self.tokens:,} tokens run" if self.tokens else ""
        more += f"; ids of {self.rendered} trees by the model's chat template" * bool(self.rendered)
        left = len(self.refused)
        more += f"; {left} {'tree' if left == 1 else 'trees'} refused" if left else ""
        lines = [f"{column}: {count} of {of} {what} scored{mean}{why}{more}"]
        for name, entries in sorted(self.beside.items()):
            mean = f", mean {math.fsum(entries) / len(entries):.4g}" if entries else ""
            lines.append(f"{name}: {len(entries)} of {of} {what}{mean}")
        return "\n".join(lines)


class Scoring(Protocol):
    """Scores trees one by one. `what` it gives entries to, `column` by default."""

    column: str
    what: str

    async def score(self, tree: Tree, summary: ScoreSummary) -> dict[str, Column]:
        """Columns by name, `column` and what stands beside it.

        Raises `DataError` or `ModelError` for a tree that cannot be scored.
        """
        ...

    async def aclose(self) -> None:
        """Give back what is held."""
        ...


# --- by a rule -----------------------------------------------------------------------------------


class ByRule:
    """Scores the leaves where an episode ended; in trees that do not say where, all leaves.

    `answer` reads it out of what was said last ("number", or a regular expression of one group);
    without it the answer is the tree's own, and where the tree does not say it all that was said.
    """

    what = "answers"

    def __init__(self, settings: RewardSettings, answer: str = "") -> None:
        self.column, self.answer = RuleScorer.column, answer
        self._scorer, self._own = make_scorer(settings), is_function(settings.rule)

    @classmethod
    def of(cls, rule: str, settings: Mapping[str, Any], answer: str = "") -> ByRule:
        """By the rule of that name with settings of section reward. Raises `RecipeError`."""
        if rule not in RULES and not is_function(rule):
            raise RecipeError(f"--rule {rule}: {nearest(rule, RULES)}")
        values = {**settings, "rule": rule}
        return cls(build("reward", {"reward": RewardSettings}, "reward", values), answer)

    async def score(self, tree: Tree, summary: ScoreSummary) -> dict[str, Column]:
        """As above, and the figures of a function."""
        nodes, leaves = list(tree.nodes), answered(tree)
        failed = len(tree.leaves()) - len(leaves)
        for i in leaves:
            node = nodes[i]
            answer = node.answer if node.done else node.text
            if self.answer:
                answer = read_answer(self.answer, said_last(tree, i))
            nodes[i] = replace(node, done=True, answer=answer)
        given = Tree(tree.task, nodes, {}, tree.seed)
        try:
            said = await self._scorer.verdicts(given, leaves)
        except ScoreError as error:
            raise DataError(str(error)) from error
        names = dict.fromkeys([self.column, *(name for each in said for name in each)])
        out: dict[str, Column] = {name: [None] * len(tree) for name in names}
        for i, each in zip(leaves, said, strict=True):
            for name, value in each.items():
                out[name][i] = value
        why = "no reward by the function" if self._own else "no verdict in time"
        none = sum(each[self.column] is None for each in said)
        reasons = {"the episode failed": failed, why: none}
        summary.without.update({reason: n for reason, n in reasons.items() if n})
        return out

    async def aclose(self) -> None:
        """End the checker's processes."""
        await self._scorer.aclose()


def said_last(tree: Tree, leaf: int) -> str:
    """The last text on the way to a leaf."""
    return next((t for i in reversed(tree.path(leaf)) if (t := tree.nodes[i].text.strip())), "")


# --- by a model ----------------------------------------------------------------------------------


class ByGuide:
    """Scores every step by a guide, in ids of its own model where it reads ids.

    `anew`: ids that a tree has are not read, but made out of its texts.
    """

    what = "steps"

    def __init__(self, guides: Guides, column: str, anew: bool = False) -> None:
        self.guide, self.column, self.anew, self._guides = guides[column], column, anew, guides
        fitted: Any = getattr(self.guide, "model", None)
        self.chat: Chat | None = None
        if fitted is not None:
            self.chat = TemplateChat(fitted.tokenizer, fitted.name)

    async def score(self, tree: Tree, summary: ScoreSummary) -> dict[str, Column]:
        """As above."""
        given = Tree(tree.task, tree.nodes, {}, tree.seed)
        if self.chat is not None:
            given = self._readable(given, summary)
        elif not has_text(tree):
            raise DataError("no step has a text, and a judge reads texts")
        ran = await judge_tree(self.guide, given)  # other trees count meanwhile
        summary.tokens += sum(ran.values())
        out = given.columns[self.guide.column]
        for i, value in enumerate(out[1:], 1):
            if value is None:
                summary.without[self._why(given, i)] += 1
        return {self.guide.column: out}

    def _readable(self, tree: Tree, summary: ScoreSummary) -> Tree:
        """The tree in ids of the guide's model."""
        assert self.chat is not None
        if has_ids(tree) and not self.anew:
            if foreign(tree, self.chat):
                raise DataError(
                    "its ids are another model's (they spell other texts): --text makes them anew"
                )
            return tree
        if not has_text(tree):
            raise DataError("its steps have neither text nor token ids")
        summary.rendered += 1
        return with_ids(tree, self.chat)

    def _why(self, tree: Tree, i: int) -> str:
        node = tree.nodes[i]
        if node.error:
            return "the step failed"
        if not (node.tokens or node.text.strip()):
            return "the step says nothing"
        most = getattr(getattr(self.guide, "model", None), "context", 0)
        if most and tree.length(i) > most:
            return f"longer than the model's {most:,} tokens"
        return "no verdict, or no end of an episode"

    async def aclose(self) -> None:
        """Give back the model."""
        await self._guides.aclose()


def by_guide(recipe: Recipe, column: str, anew: bool = False) -> ByGuide:
    """Scoring by a guide of a recipe, its model loaded. Raises as `Guides` does."""
    return ByGuide(Guides(recipe, [column], None), column, anew)


# --- over trees ----------------------------------------------------------------------------------


async def score_trees(
    how: Scoring,
    trees: Sequence[Tree],
    places: Sequence[str],
    scored: Callable[[int], None] = lambda done: None,
) -> tuple[list[dict[str, Column] | None], ScoreSummary]:
    """(columns for every tree, None where it was refused; what was scored).

    `places` say where each tree stands. Raises `DataError` where all of them are refused.
    """
    summary, out = ScoreSummary(), list[dict[str, Column] | None]()

    async def one(tree: Tree, place: str) -> dict[str, Column] | None:
        try:
            columns = await how.score(tree, summary)
        except (DataError, ModelError) as error:
            summary.refused.append(f"{place}: {error}")
            return None
        for name, column in columns.items():
            there = [value for value in column if value is not None]
            beside = summary.beside.setdefault(name, []) if name != how.column else summary.entries
            beside += there
        return columns

    try:
        for first in range(0, len(trees), AT_ONCE):
            part = range(first, min(first + AT_ONCE, len(trees)))
            waiting: list[Awaitable[dict[str, Column] | None]] = [
                one(trees[k], places[k]) for k in part
            ]
            out += await asyncio.gather(*waiting)
            scored(len(out))
    finally:
        await how.aclose()
    if all(column is None for column in out):
        raise DataError(f"none of {len(out)} trees can be scored, the first: {summary.refused[0]}")
    return out, summary
