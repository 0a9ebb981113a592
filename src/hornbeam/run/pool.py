"""Comparing selectors offline: answers that were sampled once, every choice and every n on them.

A pool is a file of grown trees with rewards, as `hornbeam export` writes them. Nothing is sampled;
guides whose columns the file does not hold judge it now.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hornbeam.errors import DataError, RecipeError
from hornbeam.ledger import NO_BUDGET, Entry
from hornbeam.run.choices import MethodChoice
from hornbeam.run.guides import Guides
from hornbeam.run.readout import Costs, Json, Point, read_point, search_table, until
from hornbeam.run.recipe import Recipe
from hornbeam.run.watch import Watch
from hornbeam.score.alike import Alike
from hornbeam.score.base import Guide
from hornbeam.search import Independent, strategy
from hornbeam.search.choose import chooser
from hornbeam.tree import Tree
from hornbeam.treefile import read_trees


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
        out.setdefault(node.episode, []).append(i)
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
                fresh[node.episode] = fresh.get(node.episode, 0) + (place < len(context))
            at = seen[at, token]
    return fresh


def share_prompts(entries: Sequence[Entry], fresh: Mapping[int, int]) -> list[Entry]:
    """Ledger entries of a pool's tree, its computed prompt tokens given to episodes by `fresh`.

    Which of several episodes computes a prefix that they share hangs on which comes first. Here it
    is the first of them, so that n episodes cost what they would have cost alone.
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


async def search_pool(
    recipe: Recipe, trees: Sequence[Tree], watch: Watch, command: str = ""
) -> Json:
    """The result of all methods that only sample (strategy "independent"), read off a pool.

    Points that want more episodes than every tree holds are left out, as are methods that would
    have to grow; both are told.
    """
    found: list[tuple[MethodChoice, str, int]] = []
    held = min(len(by_episode(tree)) for tree in trees)
    for method in recipe.search.methods:
        for label, settings in method.points():
            how = strategy(method.strategy, **settings)
            name = f"{method.name} {label}".strip()
            if not isinstance(how, Independent) or method.budget != NO_BUDGET:
                watch.say(f"{name}: left out, it would have to grow trees")
            elif how.n > held:
                watch.say(f"{name}: left out, the pool holds {held} episodes a task")
            else:
                found.append((method, label, how.n))
    if not found:
        raise RecipeError("none of the recipe's methods can be read off this pool")
    reads = {method.name: _columns(recipe, method, trees) for method, _, _ in found}
    paid = await _judge(recipe, [c for columns in reads.values() for c in columns], trees, watch)
    fresh = [fresh_prompts(tree) for tree in trees]
    alike = Alike(recipe.reward)
    try:
        sames = await alike.of_trees(trees)
    finally:
        await alike.aclose()
    points: list[tuple[str, Point]] = []
    for method, label, n in found:
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
            chooser(method.choose),
            costs,
            0.0,
            prepare=lambda tree: tree,
            sames=sames,
            k=recipe.search.k,
        )
        points.append((method.name, point))
    return search_table(recipe, points, command)


def _columns(recipe: Recipe, method: MethodChoice, trees: Sequence[Tree]) -> tuple[str, ...]:
    """The columns of guides that a method reads; each is in the pool or has a guide."""
    try:
        reads = chooser(method.choose).reads
    except RecipeError as error:
        raise RecipeError(f"search method {method.name!r}: {error}") from error
    columns = tuple(dict.fromkeys([*reads, *method.guides]))
    for column in columns:
        if column not in recipe.guides and any(column not in tree.columns for tree in trees):
            raise RecipeError(
                f"search method {method.name!r} reads column {column!r}, which neither the pool"
                f" holds nor a guide writes: add a table [guides.{column}]"
            )
    return columns


async def _judge(
    recipe: Recipe, columns: Sequence[str], trees: Sequence[Tree], watch: Watch
) -> dict[str, list[list[Entry]]]:
    """Fill what columns are missing; entries of what that cost, by column and tree."""
    missing = [c for c in dict.fromkeys(columns) if any(c not in t.columns for t in trees)]
    guides = Guides(recipe, missing, None)
    paid: dict[str, list[list[Entry]]] = {}
    try:
        for column in guides.needed(missing):
            watch.say(f"judging the pool by {column}")
            spent = await asyncio.gather(*(judge_tree(guides[column], tree) for tree in trees))
            paid[column] = [
                [Entry("", episode, -1, "scorer_tokens", n) for episode, n in tokens.items()]
                for tokens in spent
            ]
    finally:
        await guides.aclose()
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
        out += [Entry("", node.episode, node.turn, kind, v) for kind, v in kinds.items()]
    return out
