"""The rows of the running batch: each holds the keys and values of one sequence, in place.

Rows are kept dense (the last one moves into a gap), so that a step reads a view and copies nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from hornbeam.engine.network import Network, copy_path
from hornbeam.engine.prefix import Run

STEP = 64  # room grows by so many columns, and by an eighth


class Slots:
    """Keys and values [2, layers, rows, heads, width, dim] with a length for each row."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.lengths: list[int] = []
        self._kv: Tensor | None = None

    def join(self, paths: Sequence[Sequence[Run]]) -> None:
        """New last rows that hold the sequences of these paths."""
        sizes = [path[-1].start + len(path[-1].tokens) for path in paths]
        kv = self._room(len(self.lengths) + len(paths), max(sizes, default=0) + 1)
        for path, size in zip(paths, sizes):
            copy_path(path, kv[:, :, len(self.lengths)])
            self.lengths.append(size)

    def step(self, tokens: Sequence[int]) -> Tensor:
        """Logits [R, V] after one more token in every row."""
        width = max(self.lengths) + 1
        kv = self._room(len(tokens), width)[:, :, : len(tokens), :, :width]
        logits = self.network.decode(tokens, self.lengths, kv)
        self.lengths = [length + 1 for length in self.lengths]
        return logits

    def row(self, index: int) -> Tensor:
        """Keys and values [2, layers, heads, tokens, dim] of a row (a view)."""
        assert self._kv is not None
        return self._kv[:, :, index, :, : self.lengths[index]]

    def leave(self, index: int, wipe: bool = False) -> None:
        """Drop a row, the last one takes its place; `wipe` it if it may not be finite."""
        assert self._kv is not None
        last = len(self.lengths) - 1
        if wipe:
            self._kv[:, :, index] = 0
        if index != last:
            length = self.lengths[last]
            self._kv[:, :, index, :, :length] = self.row(last)
            self.lengths[index] = length
        self.lengths.pop()

    def clear(self) -> None:
        """Drop all rows and give the memory back."""
        self.lengths = []
        self._kv = None

    def _room(self, rows: int, width: int) -> Tensor:
        old = self._kv
        have = (old.shape[2], old.shape[4]) if old is not None else (0, 0)
        if old is None or rows > have[0] or width > have[1]:
            rows = have[0] if rows <= have[0] else max(rows, 2 * have[0])
            width = have[1] if width <= have[1] else width + width // 8 + STEP
            self._kv = self.network.empty(rows, width)
            if old is not None:
                self._kv[:, :, : have[0], :, : have[1]] = old
        assert self._kv is not None
        return self._kv
