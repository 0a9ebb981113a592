"""The rows of each minibatch of a step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hornbeam.train.rows import Rows, Trains, collect
from hornbeam.train.train_settings import LossSettings, OptimSettings
from hornbeam.tree.nodes import Tree


def minibatches(
    trees: Sequence[Tree], trains: Trains, loss: LossSettings, optim: OptimSettings
) -> Iterator[Rows]:
    """The trees in the order given, cut evenly. Raises `DataError` as `collect` does."""
    many = min(optim.minibatches, len(trees))
    for n in range(many):
        yield collect(
            trees[n * len(trees) // many : (n + 1) * len(trees) // many],
            trains=trains,
            aggregation=loss.aggregation,
            constant=loss.constant,
            share=optim.packed,
            pairs=loss.pairs,
            preferred=loss.prefers,
            keep_zeros=loss.keeps_zeros,
            needs_old=loss.reads_engine,
            mask_truncated=loss.mask_truncated,
        )
