"""Labels of searched trees: their columns, which trees are kept, and how many labels there are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from hornbeam.assembly.engines import keeps_ids
from hornbeam.assembly.failed_episodes import tool_figures
from hornbeam.blame import BlameForks
from hornbeam.errors import ProgramError
from hornbeam.own.own_parts import Base
from hornbeam.recipe.recipe import Recipe
from hornbeam.recipe.sections import LabelSection
from hornbeam.search import Mcts, Rollouts, Strategy
from hornbeam.search.chunk_labels import apply
from hornbeam.search.labels import account, informative, label
from hornbeam.store.ledger import Entry
from hornbeam.tree.jsonl import json_line, to_json
from hornbeam.tree.nodes import Tree

NO_IDS = (
    'engine.kind = "chat" without engine.tokenizer keeps text alone, and `hornbeam fit` reads token'
    " ids of the model that it fits: to fit on these labels name its folder as engine.tokenizer"
)


def warn_of_ids(recipe: Recipe, warn: Callable[[str], None]) -> None:
    """Say so where the trees will have no ids of the model that is to be fitted to them."""
    if not keeps_ids(recipe):
        warn(NO_IDS)


def label_trees(
    trees: Sequence[Tree],
    choice: LabelSection,
    how: Strategy,
    warn: Callable[[str], None],
    base: Base = "",
) -> list[Tree]:
    """The trees that are kept, columns "visits", "q" and "label" of all of them written.

    Raises `ProgramError` where no run of any tree has a reward.
    """
    shares = isinstance(how, (Rollouts, BlameForks))
    often = isinstance(how, Mcts) and how.style == "masprm"
    for tree in trees:
        made = how.columns(tree) if shares or often else {}
        tree.columns.update(made if shares else label(tree, times=made.get("visits")))
        if isinstance(how, BlameForks):
            tree.columns["label"] = how.labels(tree)
        if choice.chunk_label:
            apply(tree, choice.chunk_label, choice.thresholds, base)
    values = [v for tree in trees for v in tree.columns["q"] if v is not None]
    if not values:
        errors = [tree.nodes[i].error for tree in trees for i in tree.leaves()]
        raise ProgramError(
            f"no run of {len(trees)} tasks has a reward, so there is nothing to label; the"
            f" first of {len(errors)}: {next(filter(None, errors), 'no verdict')}"
        )
    if max(values) == min(values):
        warn(
            f"every Q is {values[0]:g}, so no step is better than another: label recorded runs,"
            " right and wrong ones, by `--method rollouts --trees FILE`, or take"
            f" {'harder' if values[0] > 0 else 'easier'} tasks, or sample with a higher temperature"
        )
    return [tree for tree in trees if informative(tree, choice.bound, shares)]


def json_lines(trees: Sequence[Tree]) -> str:
    """The trees as lines of a tree file."""
    return "".join(json_line(to_json(tree)) for tree in trees)


def counts(trees: Sequence[Tree], kept: Sequence[Tree]) -> dict[str, Any]:
    """How many trees were searched and kept, runs, failed tool calls, labels of the kept ones."""
    return {
        "searched": len(trees),
        "kept": len(kept),
        "runs": sum(tree.nodes[i].done for tree in trees for i in tree.leaves()),
        **tool_figures(trees),
        "labels": _count(kept, "q", lambda v: v is not None),
        "unknown": _count(kept, "visits", lambda v: v == 0),
        "good": _count(kept, "label", lambda v: v == 1),
        "bad": _count(kept, "label", lambda v: v == -1),
    }


def _count(trees: Sequence[Tree], column: str, wanted: Callable[[float | None], bool]) -> int:
    """How many steps have an entry of this kind."""
    return sum(wanted(v) for tree in trees for v in tree.columns.get(column, ())[1:])


def account_of(trees: Sequence[Tree], entries: Iterable[Entry]) -> dict[str, Any]:
    """What the labels of these trees cost, by the ledger's entries for them."""
    spent: dict[str, float] = {}
    for entry in entries:
        spent[entry.kind] = spent.get(entry.kind, 0) + entry.amount
    return account(trees, spent)
