"""From labelled trees to what a value head is fitted on. Numbers only, no torch.

A node has a value when it has tokens and no error. The value is read at the last token of the
node's own sequence: place `tree.length(i) - 1`, in fitting and in search alike.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from hornbeam.credit.baselines import equal
from hornbeam.errors import DataError, how_to_write
from hornbeam.train.rows import Row, carried
from hornbeam.train.train_settings import FitSettings
from hornbeam.tree.nodes import Column, Node, Tree

VISITS = "visits"


class Target(NamedTuple):
    """What the value of a node should be, and how much that counts."""

    node: int
    value: float
    weight: float = 1.0


@dataclass(slots=True)
class Reads:
    """Rows of ids, and for each row (place, number of the read) of the values read on it.

    Reads are numbered through the batch from 0 to `count` - 1. `flat` counts the tokens of one row
    for every read.
    """

    rows: list[Row] = field(default_factory=list)
    places: list[list[tuple[int, int]]] = field(default_factory=list)
    count: int = 0
    flat: int = 0

    def add(self, tree: Tree, nodes: Sequence[int]) -> None:
        """Read the values of these nodes (ascending, each once), numbered in the order given."""
        numbers = {i: self.count + n for n, i in enumerate(nodes)}
        for last, held in carried(tree, nodes):
            self.rows.append(Row(np.asarray(tree.sequence(last), np.int32), ()))
            self.places.append([(tree.length(i) - 1, numbers[i]) for i in held])
        self.count += len(nodes)
        self.flat += sum(tree.length(i) for i in nodes)

    def sides(self, turn: int | None) -> tuple[list[Row], list[list[tuple[int, int]]]]:
        """Rows and places of which none reads a sequence of up to `turn` tokens in a longer row.

        (Such a row is computed with other frequencies; see `Rows.turn`.)
        """
        if turn is None:
            return self.rows, self.places
        rows, places = [], []
        for row, reads in zip(self.rows, self.places):
            short = [read for read in reads if read[0] < turn]
            for part, ids in ((short, row.ids[:turn]), ([*reads][len(short) :], row.ids)):
                if part:
                    rows.append(Row(ids, ()))
                    places.append(part)
        return rows, places


def has_value(node: Node) -> bool:
    """Whether there is a token to read a value at, of a step that did not fail."""
    return bool(node.tokens) and not node.error


def targets(tree: Tree, column: str, how: FitSettings) -> list[Target]:
    """The targets of a tree for regression or outcome, in order of nodes.

    Raises `DataError`, naming the task, where there is none or one is out of bounds.
    """
    given = _column(tree, column)
    visits = tree.columns.get(VISITS) if how.by_visits else None
    if how.by_visits and visits is None:
        raise DataError(f"{_task(tree)}: no column {VISITS!r} to weigh by: set by_visits = false")
    out = []
    for i, value in enumerate(given):
        node = tree.nodes[i]
        if value is None or not has_value(node):
            continue
        if how.objective == "outcome":
            if node.done:
                out.append(Target(i, min(max(value, 0.0), 1.0)))
            continue
        if abs(value) > 1:
            raise DataError(
                f"{_task(tree)}, node {i}: {column!r} is {value}: values lie in [-1, 1]"
            )
        weight = 1.0 if visits is None else float(visits[i] or 0.0)
        if weight > 0:
            out.append(Target(i, value, weight))
    if not out:
        check_readable(tree, column)
        where = "where an episode ended" if how.objective == "outcome" else "at a step"
        raise DataError(f"{_task(tree)}: column {column!r} holds no target {where}")
    return out


def check_readable(tree: Tree, column: str) -> None:
    """Raise `DataError` where the steps with an entry have no token ids to read a value at."""
    held = [i for i, value in enumerate(_column(tree, column)) if i and value is not None]
    if not held or any(tree.nodes[i].tokens for i in held):
        return
    texts = sum(bool(tree.nodes[i].text.strip()) for i in held)
    what = "text, but no token ids" if texts else "neither text nor token ids"
    raise DataError(
        f"{_task(tree)}: its {len(held)} steps with an entry in {column!r} hold {what}, and a value"
        " model reads ids: `hornbeam import` and `hornbeam steps --from` write them with --model"
    )


def pairs(tree: Tree, column: str) -> list[tuple[int, int]]:
    """All (better, worse) pairs of siblings that say other things and whose targets differ."""
    given = _column(tree, column)
    visits = tree.columns.get(VISITS)
    out = []
    for parent in range(len(tree)):
        known: list[tuple[int, float]] = []
        for i in tree.children(parent):
            value = given[i]
            seen = visits is None or (visits[i] or 0) >= 1
            if value is not None and seen and has_value(tree.nodes[i]):
                known.append((i, value))
        for n, (i, a) in enumerate(known):
            mine = tree.nodes[i].tokens  # twins say the same, and differ by chance alone
            others = [
                (j, b) for j, b in known[:n] if not equal([a, b]) and tree.nodes[j].tokens != mine
            ]
            out += [(i, j) if a > b else (j, i) for j, b in others]
    return sorted(out)


def drawn(
    found: Sequence[tuple[int, int]], most: int, draw: random.Random
) -> list[tuple[int, int]]:
    """At most so many of the pairs."""
    return sorted(draw.sample(found, most)) if len(found) > most else list(found)


def _column(tree: Tree, column: str) -> Column:
    """The column of targets, checked for numbers that are none."""
    given = tree.columns.get(column)
    if given is None:
        there = ", ".join(map(repr, sorted(tree.columns))) or "none"
        raise DataError(
            f"{_task(tree)}: no column {column!r} to fit on; columns: {there}{how_to_write(column)}"
        )
    for i, value in enumerate(given):
        if value is not None and not math.isfinite(value):
            raise DataError(f"{_task(tree)}, node {i}: {column!r} is {value}: not a number to fit")
    return given


def _task(tree: Tree) -> str:
    return f"task {tree.task.get('id')!r}"


def check_ids(trees: Iterable[Tree], vocabulary: int, context: int) -> None:
    """Raise `DataError` where a tree holds ids that the model does not know, or too many."""
    for tree in trees:
        for i, node in enumerate(tree.nodes):
            top = max(max(node.prompt, default=0), max(node.tokens, default=0))
            if top >= vocabulary:
                raise DataError(
                    f"{_task(tree)}, node {i}: id {top} is beyond the model's {vocabulary}: the"
                    " tree was grown with another tokenizer"
                )
            if tree.length(i) > context:
                raise DataError(
                    f"{_task(tree)}, node {i}: {tree.length(i)} tokens do not fit the value model's"
                    f" context of {context}: leave the tree out, or take another base"
                )


# --- figures of a fit: what a value says against what it should ----------------------------------


def ranks(values: Sequence[float]) -> list[float]:
    """Rank of every value from 1 on; equal values share the mean of their ranks."""
    order = sorted(range(len(values)), key=values.__getitem__)
    out, start = [0.0] * len(values), 0
    while start < len(order):
        stop = start
        while stop < len(order) and values[order[stop]] == values[order[start]]:
            stop += 1
        for k in order[start:stop]:
            out[k] = (start + 1 + stop) / 2
        start = stop
    return out


def spearman(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Correlation of ranks; None where one side is constant."""
    x, y = np.asarray(ranks(a)), np.asarray(ranks(b))
    if len(x) < 2 or x.std() == 0 or y.std() == 0:
        return None
    return float(((x - x.mean()) * (y - y.mean())).mean() / (x.std() * y.std()))


def auc(scores: Sequence[float], positive: Sequence[bool]) -> float | None:
    """P(score of a positive > that of a negative), ties half; None where one kind is missing.

    Mann and Whitney: (sum of the positives' ranks - n+ (n+ + 1) / 2) / (n+ n-).
    """
    plus = sum(positive)
    minus = len(positive) - plus
    if not plus or not minus:
        return None
    total = sum(rank for rank, is_plus in zip(ranks(scores), positive) if is_plus)
    return (total - plus * (plus + 1) / 2) / (plus * minus)


def pair_accuracy(
    found: Iterable[tuple[int, int]], score: Callable[[int], float]
) -> tuple[float, int]:
    """(pairs in the right order, ties half; pairs)."""
    right, count = 0.0, 0
    for better, worse in found:
        a, b = score(better), score(worse)
        right += (a > b) + 0.5 * (a == b)
        count += 1
    return right, count
