"""From rows to packs: what one forward pass holds, and which of its tokens are trained.

Rows sorted by their ids are a token trie in depth-first preorder: each row adds what follows its
longest common prefix with the row before (METHODS 0.2). position = depth; key j is visible to query
i iff j <= i and i < end(j), end(j) being where the subtree of j stops. A trie larger than the bound
is cut between rows; the next pack repeats the path above the cut.

What is trained is held apart from the trie, for one trie node may be trained with several
log-probs, or in one row and not in another: a *target* is (slot of its source, token, old log-prob,
segment), its *source* the place whose output predicts it. Axes: N tokens, U sources, T targets,
S segments, P (leaf, segment) pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hornbeam.train.rows import Row, Rows

Ints = NDArray[np.int64]


@dataclass(slots=True)
class Pack:
    """Tokens of one forward pass and its targets, ordered by source.

    Packed: `ids`, `position` have shape [1, N], `end` has [N]. Flat: `ids`, `position` and `real`
    (False where padded) have shape [rows, longest], and `end` is None.
    """

    ids: Tensor
    position: Tensor
    end: Tensor | None
    real: Tensor | None
    sources: Tensor  # [U] places in the flattened tokens, ascending
    slot: Tensor  # [T] place in `sources`, ascending
    token: Tensor  # [T]
    old: Tensor  # [T] log-probs of the engine
    segment: Tensor  # [T] segments of this pack, numbered from 0
    plus: Tensor  # [S]
    minus: Tensor  # [S]
    weight: Tensor  # [S]
    held: Tensor  # [S] whether `old` is the ratio's denominator whatever the loss says
    leaf: Tensor  # [P]
    pair: Tensor  # [P] segment
    value: Tensor  # [P] w_i A_i

    @property
    def tokens(self) -> int:
        """How many tokens the forward pass runs, without padding."""
        return int(self.ids.numel() if self.real is None else self.real.sum())


@dataclass(slots=True)
class ValuePack:
    """Tokens of one forward pass, laid out as in `Pack`, and the places where values are read."""

    ids: Tensor
    position: Tensor
    end: Tensor | None
    real: Tensor | None
    sources: Tensor  # [R] places in the flattened tokens
    number: Tensor  # [R] which read of the batch that is


def readings(
    rows: Sequence[Row],
    places: Sequence[Sequence[tuple[int, int]]],
    max_tokens: int,
    *,
    packed: bool,
    device: str = "cpu",
    turn: int | None = None,
) -> list[ValuePack]:
    """Passes of at most `max_tokens` tokens. `places` holds (place, number) of a row's reads.

    `turn` is what `Rows.turn` is.
    """
    out = []
    for group in _groups(rows, max_tokens, packed, turn):
        layout = _trie(rows, group) if packed else _grid(rows, group)
        read = [
            (at[place], number)
            for k, at in zip(group, layout.places)
            for place, number in places[k]
        ]
        lengths = np.asarray([len(at) for at in layout.places])

        def put(values: object, kind: torch.dtype = torch.int64) -> Tensor:
            return torch.as_tensor(np.asarray(values), dtype=kind, device=device)

        out.append(
            ValuePack(
                ids=put(layout.ids),
                position=put(layout.position),
                end=None if layout.end is None else put(layout.end),
                real=None if packed else put(layout.position < lengths[:, None], torch.bool),
                sources=put([at for at, _ in read]),
                number=put([number for _, number in read]),
            )
        )
    return out


def unique(rows: Rows) -> int:
    """How many tokens the trie over all rows holds."""
    order = _sorted(rows.rows)
    shared = sum(_shared(rows.rows[a], rows.rows[b]) for a, b in pairwise(order))
    return sum(len(row.ids) for row in rows.rows) - shared


def packs(
    rows: Rows,
    max_tokens: int,
    *,
    packed: bool,
    device: str = "cpu",
    groups: Iterable[Sequence[int]] | None = None,
) -> list[Pack]:
    """Packs of at most `max_tokens` tokens (a longer row runs alone), tries or padded rows.

    `groups` says which rows each pack holds, where that is known from `cuts`.
    """
    first = np.cumsum([0, *(len(row.segments) for row in rows.rows)])
    if groups is None:
        groups = _groups(rows.rows, max_tokens, packed, rows.turn)
    pairs = _pairs_by_segment(rows)
    out = []
    for group in groups:
        layout = _trie(rows.rows, group) if packed else _grid(rows.rows, group)
        out.append(_pack(rows, group, layout, first, pairs, device))
    return out


def cuts(rows: Rows, max_tokens: int, *, packed: bool) -> list[tuple[int, list[int]]]:
    """(tokens that are run, rows) of each pack that `packs` makes."""
    all_rows = rows.rows
    groups = _groups(all_rows, max_tokens, packed, rows.turn)
    if not packed:
        return [(len(all_rows[group[0]].ids) * len(group), group) for group in groups]
    return [
        (
            sum(len(all_rows[k].ids) for k in group)
            - sum(_shared(all_rows[a], all_rows[b]) for a, b in pairwise(group)),
            group,
        )
        for group in groups
    ]


def _sorted(rows: Sequence[Row], own: Sequence[int] | None = None) -> list[int]:
    """Indices of the rows, all or `own`, in the order of their ids (a prefix comes first)."""
    which = range(len(rows)) if own is None else own
    return sorted(which, key=lambda k: rows[k].ids.astype(">u4").tobytes())


def _shared(a: Row, b: Row) -> int:
    """Length of the longest common prefix of two rows."""
    n = min(len(a.ids), len(b.ids))
    unequal = np.flatnonzero(a.ids[:n] != b.ids[:n])
    return int(unequal[0]) if len(unequal) else n


def _groups(
    rows: Sequence[Row], max_tokens: int, packed: bool, turn: int | None
) -> Iterator[list[int]]:
    """The rows of each pass; none holds rows of both sides of `turn`."""
    own = range(len(rows))
    sides = (
        [own]
        if turn is None
        else [
            [k for k in own if len(rows[k].ids) <= turn],
            [k for k in own if len(rows[k].ids) > turn],
        ]
    )
    for side in sides:
        yield from (_tries if packed else _padded)(rows, side, max_tokens)


def _tries(rows: Sequence[Row], own: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Sorted rows, cut where their trie would hold more than `max_tokens`."""
    group: list[int] = []
    size = 0
    for k in _sorted(rows, own):
        new = len(rows[k].ids) - (_shared(rows[group[-1]], rows[k]) if group else 0)
        if group and size + new > max_tokens:
            yield group
            group, size, new = [], 0, len(rows[k].ids)
        group.append(k)
        size += new
    if group:
        yield group


def _padded(rows: Sequence[Row], own: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Rows by length, longest first, cut where padded they would hold more than `max_tokens`."""
    group: list[int] = []
    for k in sorted(own, key=lambda k: -len(rows[k].ids)):
        if group and len(rows[group[0]].ids) * (len(group) + 1) > max_tokens:
            yield group
            group = []
        group.append(k)
    if group:
        yield group


@dataclass(slots=True)
class _PackLayout:
    """Arrays [1, N] or [rows, longest], and for each row of the group the place of its tokens."""

    ids: Ints
    position: Ints
    end: Ints | None
    places: list[Ints]


def _trie(rows: Sequence[Row], group: Sequence[int]) -> _PackLayout:
    """The trie of sorted rows in preorder; `end` closes where a later row leaves the path."""
    ids: list[NDArray[np.int32]] = []
    depth: list[Ints] = []
    places: list[Ints] = []
    closed: list[tuple[Ints, int]] = []
    size = 0
    for n, k in enumerate(group):
        row = rows[k]
        shared = _shared(rows[group[n - 1]], row) if n else 0
        above = places[-1][:shared] if n else np.empty(0, np.int64)
        if n:
            closed.append((places[-1][shared:], size))
        ids.append(row.ids[shared:])
        depth.append(np.arange(shared, len(row.ids)))
        places.append(np.concatenate([above, np.arange(size, size + len(row.ids) - shared)]))
        size += len(row.ids) - shared
    end = np.full(size, size, np.int64)
    for nodes, stop in closed:
        end[nodes] = stop
    whole = np.concatenate(ids).astype(np.int64)
    return _PackLayout(whole[None], np.concatenate(depth)[None], end, places)


def _grid(rows: Sequence[Row], group: Sequence[int]) -> _PackLayout:
    """Rows under each other, padded on the right with id 0."""
    longest = max(len(rows[k].ids) for k in group)
    ids = np.zeros((len(group), longest), np.int64)
    for n, k in enumerate(group):
        ids[n, : len(rows[k].ids)] = rows[k].ids
    position = np.broadcast_to(np.arange(longest), ids.shape)
    places = [n * longest + np.arange(len(rows[k].ids)) for n, k in enumerate(group)]
    return _PackLayout(ids, position.copy(), None, places)


def _pairs_by_segment(rows: Rows) -> dict[int, list[tuple[int, float]]]:
    """(leaf, w_i A_i) of every segment that has pairs."""
    out: dict[int, list[tuple[int, float]]] = {}
    for leaf, segment, value in rows.pairs:
        out.setdefault(segment, []).append((leaf, value))
    return out


def _pack(
    rows: Rows,
    group: Sequence[int],
    layout: _PackLayout,
    first: Ints,
    pairs: dict[int, list[tuple[int, float]]],
    device: str,
) -> Pack:
    """Targets of the group's segments on its layout, ordered by source."""
    source, token, old, number = [], [], [], []
    sums: list[tuple[float, float, float]] = []
    held: list[bool] = []
    by_leaf: list[tuple[int, int, float]] = []
    for k, places in zip(group, layout.places):
        for n, segment in enumerate(rows.rows[k].segments):
            at = slice(segment.start, segment.start + len(segment.old))
            source.append(places[at.start - 1 : at.stop - 1])
            token.append(rows.rows[k].ids[at].astype(np.int64))
            old.append(segment.old)
            number.append(np.full(len(segment.old), len(sums)))
            by_leaf += [(leaf, len(sums), v) for leaf, v in pairs.get(int(first[k]) + n, ())]
            sums.append((segment.plus, segment.minus, segment.weight))
            held.append(segment.held)
    sources, slot = np.unique(np.concatenate(source), return_inverse=True)
    order = np.argsort(slot, kind="stable")
    plus, minus, weight = np.asarray(sums, np.float32).T
    leaf, pair, value = zip(*by_leaf) if by_leaf else ((), (), ())

    def put(values: object, kind: torch.dtype = torch.int64) -> Tensor:
        return torch.as_tensor(np.asarray(values), dtype=kind, device=device)

    lengths = np.asarray([len(places) for places in layout.places])
    return Pack(
        ids=put(layout.ids),
        position=put(layout.position),
        end=None if layout.end is None else put(layout.end),
        real=put(layout.position < lengths[:, None], torch.bool) if layout.end is None else None,
        sources=put(sources),
        slot=put(slot[order]),
        token=put(np.concatenate(token)[order]),
        old=put(np.concatenate(old)[order], torch.float32),
        segment=put(np.concatenate(number)[order]),
        plus=put(plus, torch.float32),
        minus=put(minus, torch.float32),
        weight=put(weight, torch.float32),
        held=put(held, torch.bool),
        leaf=put(leaf),
        pair=put(pair),
        value=put(value, torch.float32),
    )
