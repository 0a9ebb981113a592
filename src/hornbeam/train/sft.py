"""Supervised examples: ids with the mask of what is trained, born together; and their rows."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hornbeam.errors import DataError
from hornbeam.train.rows import Row, Rows, Segment, Trains, all_nodes, carried
from hornbeam.tree.nodes import Tree


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt, then spans of ids that are trained or not (tool results, later questions)."""

    prompt: Sequence[int]
    spans: Sequence[tuple[Sequence[int], bool]]


def examples(trees: Iterable[Tree], *, trains: Trains = all_nodes) -> list[Example]:
    """One example for each row of the trees: what was sampled is trained, the rest is not."""
    out = []
    for tree in trees:
        nodes = [i for i, n in enumerate(tree.nodes) if i and n.tokens and trains(n)]
        for last, held in carried(tree, nodes):
            ids, done, spans = tree.sequence(last), 0, []
            for i in held:
                start = tree.length(i) - len(tree.nodes[i].tokens)
                spans += [(ids[done:start], False), (ids[start : tree.length(i)], True)]
                done = tree.length(i)
            out.append(Example(spans[0][0], spans[1:]))
    return out


def rows(batch: Sequence[Example]) -> Rows:
    """Rows whose segments have weight 1 / (trained tokens of the batch)."""
    total = sum(len(ids) for example in batch for ids, trained in example.spans if trained)
    out = Rows(leaves=len(batch), trained=total)
    for number, example in enumerate(batch):
        if not len(example.prompt):
            raise DataError(f"example {number} of the batch has no prompt: nothing predicts it")
        ids = list(example.prompt)
        segments = []
        for span, trained in example.spans:
            if trained and len(span):
                old = np.zeros(len(span), np.float32)
                segments.append(Segment(len(ids), old, 1 / total, 0.0, 1 / total))
            ids += span
        if segments:
            out.rows.append(Row(np.asarray(ids, np.int32), tuple(segments)))
            out.segments += len(segments)
            out.flat += len(ids)
    return out


def batches(
    given: Sequence[Example], *, epochs: int, size: int, seed: int
) -> Iterator[list[Example]]:
    """Batches of `size`, every example once an epoch, in an order drawn from the seed."""
    draw = random.Random(seed)
    for _ in range(epochs):
        order = list(range(len(given)))
        draw.shuffle(order)
        for start in range(0, len(order), size):
            yield [given[i] for i in order[start : start + size]]
