"""What a model keeps of the tokens that it has read: its shapes, and a cache with room for it.

Columns are kept a token: keys, values and, where a model has them, the keys of its indexer. A state
is what a recurrent or convolution layer keeps of a whole sequence, of one size however long.
All columns are in one tensor [a, b, R, heads, W, size], R rows of W columns: [2, layers, R, heads,
W, size] where all layers are alike, else [1, 1, R, 1, W, size] with the parts side by side. States
are a tuple of tensors [R, ...].

Left out: caches of a family's own kind (compressed keys, states kept inside modules).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor
from transformers import cache_utils as kinds
from transformers.cache_utils import Cache, DynamicIndexedLayer, DynamicLayer, LinearAttentionLayer

from hornbeam.engine.local.prefix_tree import State
from hornbeam.errors import ModelError

FAR = 100_003  # more than any window, chunk or training length of today is likely to divide
KNOWN = {
    getattr(kinds, name)
    for name in (
        "DynamicLayer",
        "DynamicSlidingWindowLayer",
        "DynamicIndexedLayer",
        "LinearAttentionLayer",
        "LinearAttentionAndFullAttentionLayer",
        "LinearAttentionAndSlidingWindowAttentionLayer",
        "DummyLayer",  # newer than transformers 5.19
    )
    if hasattr(kinds, name)
}


@dataclass(frozen=True, slots=True)
class Kept:
    """What one layer keeps: sizes (heads, size) of columns, and of states (name, index, ...)."""

    columns: tuple[tuple[int, int], ...]  # keys, values and an indexer's keys, or nothing
    states: tuple[tuple[str, int, tuple[int, ...], torch.dtype], ...]
    number: int = 0  # states of each name that the layer may have


class Layout:
    """What all layers of a model keep, read from a cache that the model filled itself."""

    def __init__(self, layers: Sequence[Kept]) -> None:
        self.layers = tuple(layers)
        self.states = [state for layer in layers for state in layer.states]
        shapes = {layer.columns for layer in layers if layer.columns}
        sizes = {size for columns in shapes for size in columns}
        self.alike = len(sizes) == 1 and all(len(columns) == 2 for columns in shapes)
        self.count = sum(bool(layer.columns) for layer in layers)
        self.alike = self.alike or not self.count
        self.heads, self.size = next(iter(sizes), (1, 1)) if self.alike else (1, self.features)

    @property
    def features(self) -> int:
        """Numbers that are kept of a token."""
        return sum(heads * size for layer in self.layers for heads, size in layer.columns)

    @property
    def state_features(self) -> int:
        """Numbers that are kept of a sequence, however long."""
        return sum(prod(shape) for _, _, shape, _ in self.states)

    def columns(
        self, like: Tensor, rows: int, width: int, kind: torch.dtype | None = None
    ) -> Tensor:
        """Room for columns; zeros, since 0 * NaN would pass through the mask."""
        first = (2, self.count) if self.alike else (1, 1)
        return like.new_zeros((*first, rows, self.heads, width, self.size), dtype=kind)

    def state(self, like: Tensor, rows: int) -> State:
        """The state of rows before their first token."""
        return tuple(like.new_zeros((rows, *shape), dtype=kind) for *_, shape, kind in self.states)

    def parts(self, kv: Tensor) -> list[list[Tensor]]:
        """Views [R, heads, W, size] into columns, those of each layer."""
        if self.alike:
            pairs = zip(kv[0].unbind(0), kv[1].unbind(0))
            return [list(next(pairs)) if layer.columns else [] for layer in self.layers]
        flat, at = kv[0, 0, :, 0], 0
        out: list[list[Tensor]] = []
        for layer in self.layers:
            out.append([])
            for heads, size in layer.columns:
                part = flat[:, :, at : at + heads * size]
                out[-1].append(part.view(*part.shape[:2], heads, size).transpose(1, 2))
                at += heads * size
        return out


def read(cache: Any) -> Layout | None:
    """What the layers of a filled cache of one row keep, or None where that is not known."""
    cache = getattr(cache, "self_attention_cache", cache)
    layers = getattr(cache, "layers", None)
    if not layers or any(type(layer) not in KNOWN for layer in layers):
        return None
    out = []
    for layer in layers:
        columns = [(t.shape[1], t.shape[3]) for t in _tensors(layer, "keys", "values")]
        columns += [(1, t.shape[2]) for t in _tensors(layer, "indexer_keys")]
        if getattr(layer, "indexer_position_ids", None) is not None:
            return None
        states = [
            (name, index, tuple(held.shape[1:]), held.dtype)
            for name in ("conv_states", "recurrent_states")
            for index, held in getattr(layer, name, {}).items()
            if held is not None
        ]
        number = getattr(layer, "number_of_states", 0)
        out.append(Kept(tuple(columns), tuple(states), number))
    return Layout(out)


def _tensors(layer: Any, *names: str) -> list[Tensor]:
    found = (getattr(layer, name, None) for name in names)
    return [held for held in found if held is not None and held.numel()]


class Keep(Cache):  # type: ignore[misc]
    """Writes new columns in place: at columns `at` [R] of each row, or from `start` on.

    Rows of unlike length (`uneven`) have no one length to tell: a model that asks for it is told
    `FAR`, so that one that reckons with it is seen to be wrong at load, not some day.
    """

    def __init__(
        self,
        layout: Layout,
        kv: Tensor,
        state: State,
        start: int,
        at: Tensor | None = None,
        uneven: bool = False,
    ) -> None:
        self.start = start
        self.length = FAR if uneven else start
        self.width = kv.shape[4]
        self.at = at
        self.rows = torch.arange(kv.shape[2], device=kv.device)
        states = iter(state)
        parts = layout.parts(kv)
        super().__init__(layers=[_layer(self, k, p, states) for k, p in zip(layout.layers, parts)])

    def write(self, room: Tensor, new: Tensor) -> Tensor:
        """The columns [R, heads, W, size] of a layer, the new ones included."""
        if self.at is None:
            room[:, :, self.start :] = new
        else:
            room[self.rows, :, self.at] = new[:, :, 0].to(room.dtype)
        return room

    def state(self) -> State:
        """The states after the new tokens."""
        return tuple(
            getattr(layer, name)[index] for layer in self.layers for name, index in layer.stated
        )

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Columns before the new ones."""
        return self.length

    def get_query_offset(self, layer_idx: int = 0) -> int:
        """The first new column, as makers of masks ask for it."""
        return self.start

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        """Width and first column of what attention sees."""
        return self.width, 0


class _Columns(DynamicLayer):  # type: ignore[misc]
    """A layer's keys and values in the room of a `Keep`."""

    stated: tuple[tuple[str, int], ...] = ()

    def hold(self, keep: Keep, parts: Sequence[Tensor]) -> None:
        self.keep = keep
        self.keys, self.values = parts[:2]
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        write = self.keep.write
        return write(self.keys, key_states), write(self.values, value_states)

    def get_seq_length(self) -> int:
        return self.keep.get_seq_length()

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.keep.width, 0


class _Indexed(_Columns, DynamicIndexedLayer):  # type: ignore[misc]
    """Keys, values and an indexer's keys."""

    def hold(self, keep: Keep, parts: Sequence[Tensor]) -> None:
        super().hold(keep, parts)
        self.indexer_keys = parts[2]

    def update_indexer(self, indexer_key_states: Tensor) -> Tensor:
        held: Tensor = self.indexer_keys
        return self.keep.write(held, indexer_key_states[:, None])[:, 0]


class _Stated(LinearAttentionLayer):  # type: ignore[misc]
    """A layer's states, as they were before the new tokens."""

    stated: tuple[tuple[str, int], ...] = ()

    def begin(self, kept: Kept, states: Any, begun: bool) -> None:
        self.stated = tuple((name, index) for name, index, *_ in kept.states)
        for name, index in self.stated:
            held = next(states)
            getattr(self, name)[index] = held
            getattr(self, f"is_{name}_initialized")[index] = True
            if name == "conv_states":
                self.conv_kernel_size[index] = held.shape[-1]
            self.has_previous_state[index] = begun


class _Both(_Stated, _Columns):  # type: ignore[misc]
    """A layer with states beside keys and values."""

    is_compileable = False

    def __init__(self, number: int) -> None:
        _Columns.__init__(self)
        LinearAttentionLayer.__init__(self, number)


class _Nothing(DynamicLayer):  # type: ignore[misc]
    """A layer that keeps nothing, as a layer for images does without one."""

    stated: tuple[tuple[str, int], ...] = ()

    def update(self, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        raise ModelError("it keeps more than it did at load")


def _layer(keep: Keep, kept: Kept, parts: Sequence[Tensor], states: Any) -> Any:
    layer: Any
    if not kept.number:
        layer = _Nothing() if not parts else _Columns() if len(parts) == 2 else _Indexed()
    else:
        layer = _Both(kept.number) if parts else _Stated(kept.number)
        layer.begin(kept, states, keep.start > 0)
    if parts:
        layer.hold(keep, parts)
    return layer
