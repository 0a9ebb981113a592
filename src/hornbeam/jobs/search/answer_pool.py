"""Comparing selectors offline: answers that were sampled once, every choice and every n on them.

A pool is a file of grown trees with rewards, as `hornbeam export` writes them. Nothing is sampled;
guides whose columns the file does not hold judge it now.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hornbeam.assembly.guides import Guides
from hornbeam.assembly.progress import Progress
from hornbeam.engine.remote.remote_engine import served
from hornbeam.errors import DataError, RecipeError
from hornbeam.jobs.search.missing import (
    NO_LOGPROBS,
    LeftOut,
    has_logprobs,
    largest_id,
    why_unreadable,
)
from hornbeam.jobs.search.readout import Costs, Json, Point, read_point, search_table, until
from hornbeam.protocols import Guide
from hornbeam.recipe.recipe import Recipe
from hornbeam.recipe.sections import MethodSection, keys_of
from hornbeam.score.alike import Alike
from hornbeam.search import Chooser, Independent, Strategy, strategy
from hornbeam.store.ledger import NO_BUDGET, Entry
from hornbeam.tree.jsonl import read_trees
from hornbeam.tree.nodes import Tree


async def judge_tree(guide: Guide, tree: Tree) -> dict[int, int]:
    """Write a guide's column into a grown tree; the tokens it ran for each episode in turn."""
    opinions = tree.column(guide.column)
    tokens: dict[int, int] = {}
    for episode, nodes in by_episode(tree).items():
        said = await guide.judge(tree, nodes)
        for i, value in zip(nodes, said.values, strict=True):
            opinions[i] = value
        tokens[episode] = said.tokens
    guide.forget(tree)
    return tokens


def by_episode(tree: Tree) -> Mapping[int, list[int]]:
    """The nodes that each episode grew."""
    out: dict[int, list[int]] = {}
    for i, node in enumerate(tree.nodes[1:], 1):
        out.setdefault(node.origin.episode, []).append(i)
    return out


def fresh_prompts(tree: Tree) -> dict[int, int]:
    """Prompt tokens of each episode that neither it nor an earlier one had run before."""
    seen: dict[tuple[int, int], int] = {}  # a trie: (its node, token) -> next node
    fresh: dict[int, int] = {}
    for i, node in enumerate(tree.nodes):
        if not node.tokens:
            continue
        at, context = 0, tree.context(i)
        for place, token in enumerate([*context, *node.tokens[:-1]]):
            if (at, token) not in seen:
                seen[at, token] = len(seen) + 1
                fresh[node.origin.episode] = fresh.get(node.origin.episode, 0) + (
                    place < len(context)
                )
            at = seen[at, token]
    return fresh


def share_prompts(entries: Sequence[Entry], fresh: Mapping[int, int]) -> list[Entry]:
    """Ledger entries of a pool's tree, its computed prompt tokens given to episodes by `fresh`.

    Which of several episodes computes a prefix that they share depends on the order. Here it is the
    first of them, so that n episodes cost what they would have cost alone.
    """
    kind = "prompt_tokens_computed"
    if not fresh:
        return list(entries)
    each = sum(entry.amount for entry in entries if entry.kind == kind) / sum(fresh.values())
    shared = [Entry(entries[0].tree, e, -1, kind, each * tokens) for e, tokens in fresh.items()]
    return [*(entry for entry in entries if entry.kind != kind), *shared]


def read_pool(path: Path) -> list[Tree]:
    """The trees of a file. Raises `DataError` where one holds no reward."""
    trees = list(read_trees(path))
    for number, tree in enumerate(trees, 1):
        if "reward" not in tree.columns:
            raise DataError(
                f"{path}, tree {number}: no column 'reward': score a pool before it is searched"
            )
    return trees


@dataclass(frozen=True, slots=True)
class Reader:
    """One point of one method, as it is read off a pool."""

    method: MethodSection
    label: str
    strategy: Strategy
    choose: Chooser

    @property
    def title(self) -> str:
        """What it is called before a person."""
        return f"{self.method.name} {self.label}".strip()


async def search_pool(
    recipe: Recipe, trees: Sequence[Tree], progress: Progress, command: str = ""
) -> Json:
    """The result of all methods that only sample (strategy "independent"), read off a pool.

    Points that want more episodes than every tree holds are left out, as are methods that would
    have to grow and those that read what the pool does not tell; it is told and marked.
    """
    left_out = LeftOut(progress.say)
    found = left_out.without(_readers(recipe), partial(_unread, recipe, trees))
    reads = {reader.method.name: _columns(reader) for reader in found}
    wanted = dict.fromkeys(column for columns in reads.values() for column in columns)
    guides = Guides(recipe, _missing(wanted, trees), None)
    try:
        found = left_out.without(found, partial(_unjudged, guides, trees))
        missing = _missing(dict.fromkeys(c for r in found for c in _columns(r)), trees)
        await guides.open()
        paid = await _judge(guides, missing, trees, progress)
    finally:
        await guides.aclose()
    fresh = [fresh_prompts(tree) for tree in trees]
    alike = Alike(recipe.reward)
    try:
        sames = await alike.of_trees(trees)
    finally:
        await alike.aclose()
    points: list[tuple[str, Point]] = []
    for reader in found:
        method, label, n = reader.method, reader.label, reader.strategy.leaves()
        mine = [column for column in reads[method.name] if column in paid]
        costs = [
            Costs.of(
                [e for e in _sampled(tree, fresh[k]) if e.episode < n]
                + [e for column in mine for e in paid[column][k] if e.episode < n]
            )
            for k, tree in enumerate(trees)
        ]
        point = read_point(
            label,
            [until(tree, n - 1) for tree in trees],
            reader.choose,
            costs,
            0.0,
            prepare=lambda tree: tree,
            sames=sames,
            k=recipe.search.k,
        )
        points.append((method.name, point))
    result = search_table(recipe, points, command) | left_out.result
    return result | served(guides.engines)


def _readers(recipe: Recipe) -> list[Reader]:
    """Every point of the recipe's methods. Raises `RecipeError` naming the method."""
    made = []
    for method in recipe.search.methods:
        try:
            with keys_of(method):
                choose = method.choice(recipe.base)
                for label, settings in method.points():
                    how = strategy(method.strategy, recipe.base, **settings)
                    made.append(Reader(method, label, how, choose))
        except RecipeError as error:
            raise RecipeError(f"search method {method.name!r}: {error}") from error
    return made


def _unread(recipe: Recipe, trees: Sequence[Tree], reader: Reader) -> str:
    """Why a point cannot be read off a pool, or ""."""
    how, held = reader.strategy, min(len(by_episode(tree)) for tree in trees)
    if not isinstance(how, Independent) or reader.method.budget != NO_BUDGET:
        return "it would have to grow trees"
    if how.n > held:
        return f"the pool holds {held} episodes a task"
    for column in _missing(_columns(reader), trees):
        if column not in recipe.guides:
            return (
                f"it reads column {column!r}, which neither the pool holds nor a guide writes:"
                f" add a table [guides.{column}]"
            )
        if not has_logprobs(recipe.guides, column, trees):
            return NO_LOGPROBS
    return why_unreadable(reader.choose, trees)


def _unjudged(guides: Guides, trees: Sequence[Tree], reader: Reader) -> str:
    """Why a guide cannot judge a pool, or ""."""
    largest = largest_id(trees)
    for column in guides.needed(_missing(_columns(reader), trees)):
        if (size := getattr(guides[column], "vocabulary", None)) and largest >= size:
            return f"guides.{column} reads token ids of its own model, and the pool has others"
    return ""


def _columns(reader: Reader) -> list[str]:
    """The columns of guides that a method reads."""
    return list(dict.fromkeys([*reader.choose.reads, *reader.method.guides]))


def _missing(columns: Iterable[str], trees: Sequence[Tree]) -> list[str]:
    """Those of the columns that a tree does not hold."""
    return [c for c in columns if any(c not in tree.columns for tree in trees)]


async def _judge(
    guides: Guides, columns: Sequence[str], trees: Sequence[Tree], progress: Progress
) -> dict[str, list[list[Entry]]]:
    """Fill what columns are missing; entries of what that cost, by column and tree."""
    paid: dict[str, list[list[Entry]]] = {}
    for column in guides.needed(columns):
        progress.say(f"judging the pool by {column}")
        spent = await asyncio.gather(*(judge_tree(guides[column], tree) for tree in trees))
        paid[column] = [
            [Entry("", episode, -1, "scorer_tokens", n) for episode, n in tokens.items()]
            for tokens in spent
        ]
    return paid


def _sampled(tree: Tree, fresh: Mapping[int, int]) -> list[Entry]:
    """What sampling cost, as far as the tree tells: no prompt token is computed twice."""
    out = [Entry("", e, -1, "prompt_tokens_computed", tokens) for e, tokens in fresh.items()]
    for node in tree.nodes[1:]:
        kinds: dict[str, Any] = {
            "sampled_tokens": len(node.tokens),
            "model_calls": bool(node.tokens),
            "tool_calls": len(node.calls),
        }
        out += [
            Entry("", node.origin.episode, node.origin.turn, kind, v) for kind, v in kinds.items()
        ]
    return out
