"""The rows of the running batch: each holds what is kept of one sequence, in place.

Rows are kept dense (the last one moves into a gap), so that a step reads a view and copies nothing.
Attention reads every row to the width of the longest, so rows of unlike length have slots of their
own: `widths` tells the bounds, and a row that outgrows its slots moves on.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from hornbeam.engine.local.network import Network, copy_path, copy_state
from hornbeam.engine.local.prefix_tree import PrefixRun, State

NARROW = 512  # bound of the shortest rows; each further one is four times as wide
STEP = 64  # room grows by so many columns, and by an eighth
ALIGN = 16  # a step reads a multiple of so many: kernels are made once for a shape, not a length


def widths(context: int, turn: int = 0) -> list[int]:
    """Bounds of lengths that share slots: 512, 2048, 8192, ... up to the context; and `turn`."""
    out = [NARROW]
    while out[-1] < context:
        out.append(4 * out[-1])
    return sorted({*out, turn} - {0})


class Slots:
    """Keys and values [2, layers, rows, heads, width, dim], states, and a length for each row."""

    def __init__(self, network: Network, bound: int) -> None:
        self.network = network
        self.bound = bound  # rows of this length belong into wider slots
        self.lengths: list[int] = []
        self._kv: Tensor | None = None
        self._state: State = ()

    @property
    def rows(self) -> int:
        """How many rows there is memory for."""
        return 0 if self._kv is None else int(self._kv.shape[2])

    def join(self, paths: Sequence[Sequence[PrefixRun]]) -> None:
        """New last rows that hold the sequences of these paths."""
        sizes = [path[-1].end for path in paths]
        kv = self._room(len(self.lengths) + len(paths), max(sizes, default=0) + 1)
        for path, size in zip(paths, sizes):
            copy_path(path, kv[:, :, len(self.lengths)])
            copy_state(path[-1], self._state, len(self.lengths))
            self.lengths.append(size)

    def adopt(self, kv: Tensor, state: State) -> None:
        """A new last row with another's, [2, layers, heads, tokens, dim] and a state."""
        length, last = kv.shape[3], len(self.lengths)
        self._room(last + 1, length + 1)[:, :, last, :, :length] = kv
        for held, own in zip(self._state, state):
            held[last] = own
        self.lengths.append(length)

    def step(self, tokens: Sequence[int]) -> Tensor:
        """Logits [R, V] after one more token in every row."""
        width = -(-(max(self.lengths) + 1) // ALIGN) * ALIGN
        kv = self._room(len(tokens), width)[:, :, : len(tokens), :, :width]
        state = tuple(held[: len(tokens)] for held in self._state)
        logits = self.network.decode(tokens, self.lengths, kv, state)
        self.lengths = [length + 1 for length in self.lengths]
        return logits

    def row(self, index: int) -> Tensor:
        """Keys and values [2, layers, heads, tokens, dim] of a row (a view)."""
        assert self._kv is not None
        return self._kv[:, :, index, :, : self.lengths[index]]

    def state(self, index: int) -> State:
        """The state of a row (views)."""
        return tuple(held[index] for held in self._state)

    def leave(self, index: int, wipe: bool = False) -> None:
        """Drop a row, the last one takes its place; `wipe` it if it may not be finite."""
        assert self._kv is not None
        last = len(self.lengths) - 1
        if wipe:
            for held in (self._kv.transpose(0, 2), *self._state):
                held[index] = 0
        if index != last:
            length = self.lengths[last]
            self._kv[:, :, index, :, :length] = self.row(last)
            for held in self._state:
                held[index] = held[last]
            self.lengths[index] = length
        self.lengths.pop()

    def clear(self) -> None:
        """Drop all rows and give the memory back."""
        self.lengths = []
        self._kv, self._state = None, ()

    def _room(self, rows: int, width: int) -> Tensor:
        old = self._kv
        have = (old.shape[2], old.shape[4]) if old is not None else (0, 0)
        if old is None or rows > have[0] or width > have[1]:
            rows = have[0] if rows <= have[0] else max(rows, 2 * have[0])
            width = have[1] if width <= have[1] else width + width // 8 + STEP
            self._kv = self.network.empty(rows, width)
            state, self._state = self._state, self.network.blank(rows)
            if old is not None:
                self._kv[:, :, : have[0], :, : have[1]] = old
                for held, own in zip(self._state, state):
                    held[: have[0]] = own
        assert self._kv is not None
        return self._kv
