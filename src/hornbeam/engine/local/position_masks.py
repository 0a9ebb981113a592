"""Masks by position, put into transformers through its registries of masks and of attention.

transformers hands a registered mask function the rule of a layer (causal, window, chunk): it is
asked at the positions of tokens instead of their columns, so that rows of unlike length share a
forward pass. Outside `placed` the two functions do what transformers' own do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface, causal_mask_function, sdpa_mask

from hornbeam.errors import ModelError
from hornbeam.train.attention import attend as by_mask

NAME = "hornbeam_engine"  # what the registries call the two functions
FEW = 64  # new tokens a row for which heads that share keys are taken together


@dataclass(slots=True)
class Places:
    """Where the tokens of a forward pass are: queries [R, n], keys [R, W]; -1 is padding."""

    queries: Tensor
    keys: Tensor
    kind: torch.dtype
    made: dict[int, Tensor] = field(default_factory=dict)  # masks by their place in memory
    calls: int = 0  # of attention
    foreign: bool = False  # attention was given another mask

    def mask(self, rule: Callable[..., Tensor]) -> Tensor:
        """What to add to the scores [R, 1, n, W]: 0 where `rule` lets a query see, else least."""
        query, key = self.queries[:, None, :, None], self.keys[:, None, None, :]
        seen = (key <= query) & (key >= 0)
        if rule is not causal_mask_function:
            row = torch.arange(len(query), device=query.device)[:, None, None, None]
            seen = seen & rule(row, torch.zeros_like(row), query, key)
        seen = seen | (query < 0)  # what padding sees is of no account, but must be finite
        hidden = torch.tensor(torch.finfo(self.kind).min, dtype=self.kind, device=query.device)
        mask = torch.where(seen, torch.zeros_like(hidden), hidden)
        self.made[mask.untyped_storage().data_ptr()] = mask
        return mask


_now: ContextVar[Places | None] = ContextVar("places", default=None)


@contextmanager
def placed(places: Places) -> Iterator[None]:
    """The masks of this block are by these places."""
    token = _now.set(places)
    try:
        yield
    finally:
        _now.reset(token)


def rule_mask(
    batch_size: int,
    q_length: int,
    kv_length: int,
    mask_function: Callable[..., Tensor] = causal_mask_function,
    **given: Any,
) -> Tensor | None:
    """A layer's mask, as transformers' registry asks for it."""
    places = _now.get()
    if places is None:
        given["allow_is_causal_skip"] = False
        made: Tensor | None = sdpa_mask(
            batch_size, q_length, kv_length, mask_function=mask_function, **given
        )
        return made
    if (q_length, kv_length) != (places.queries.shape[1], places.keys.shape[1]):
        raise ModelError(f"it masks {q_length} tokens and {kv_length} columns of its own")
    return places.mask(mask_function)


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    position_bias: Tensor | None = None,
    **__: Any,
) -> tuple[Tensor, None]:
    """Attention, heads first: [R, heads, n, size], keys [R, key heads, W, size]; no dropout.

    Out [R, n, heads, size]. With `softcap` c the scores are c tanh(scores / c) (Gemma 2); sinks
    `s_aux` [heads] are one more column that has no value (GPT-OSS).
    """
    if position_bias is not None or attention_mask is None:
        raise ModelError("its attention has no mask by position")
    places = _now.get()
    if places is not None:
        places.calls += 1
        places.foreign |= attention_mask.untyped_storage().data_ptr() not in places.made
    rows, heads, n, size = query.shape
    kept = key.shape[1]
    mask = attention_mask
    if key.dtype is not query.dtype:
        plain = n == 1 and softcap is None and s_aux is None and mask.shape[1] == 1
        if plain and mask.dtype is not torch.bool:
            query = query.reshape(rows, kept, heads // kept, size)
            scale = size**-0.5 if scaling is None else scaling
            out = by_products(query, key, value, mask, scale)
            return out.reshape(rows, 1, heads, -1), None
        key, value = key.to(query.dtype), value.to(query.dtype)
    if n <= FEW and s_aux is None and mask.shape[1] == 1:  # heads as queries: copies no keys
        query = query.reshape(rows, kept, heads // kept * n, -1)
        mask = mask if n == 1 else mask.repeat(1, 1, heads // kept, 1)
    if (softcap is not None or s_aux is not None) and mask.dtype != torch.bool:
        mask = mask == 0
    out = by_mask(query, key, value, mask, scaling, softcap, s_aux)
    return out.reshape(rows, heads, n, -1).transpose(1, 2).contiguous(), None


def by_products(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Attention of float32 queries to keys and values of bfloat16, summed in float32.

    Shapes as in `attend`, the queries of heads that share keys side by side. Keys come first: so
    oneDNN reads them where they lie.
    """
    scores = torch.matmul(key, query.to(key.dtype).transpose(2, 3)).transpose(2, 3)
    weights = torch.add(mask, scores, alpha=scale).softmax(-1)
    return torch.matmul(weights.to(value.dtype), value).to(query.dtype)


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, rule_mask)
