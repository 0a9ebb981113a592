"""Attention over a packed trie, put into transformers through its attention registry.

Key j is visible to query i iff j <= i and i < end(j), and with a sliding window of w positions iff
also position(i) - position(j) < w. Queries run in blocks; a block sees only the keys that one of
its queries sees, so the cost is that of the paths, not of the square of the pack. On a GPU flex
attention does the same in tiles (`flex`); `choose` says which it is.

A model trains packed when it hands its attention to the registry, knows places by position ids
alone and carries no state from token to token. `check` tries it on a small trie instead of keeping
a list of names.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AttentionInterface

from hornbeam.errors import ModelError
from hornbeam.train import flex

NAME, FLEX = "hornbeam_packed", "hornbeam_flex"  # what the registry calls the two ways
LEAST = 16  # size of a head from which flex attention has kernels
BLOCK = 256  # queries that share one set of keys


Block = tuple[slice, Tensor, Tensor]  # queries, keys, mask [queries, keys]


class Sees(Protocol):
    """Who sees whom in one forward pass."""

    def blocks(self, window: int | None) -> list[Block]:
        """Blocks that cover all queries, in order; with a window, keys nearer than that."""
        ...


@dataclass(slots=True)
class Visible:
    """Who sees whom in a pack: `position` and `end`, shape [N], and the blocks made from them."""

    position: Tensor
    end: Tensor
    seen: dict[int | None, list[Block]] = field(default_factory=dict)

    def blocks(self, window: int | None) -> list[Block]:
        """All blocks; made once for each window."""
        if window not in self.seen:
            total = len(self.end)
            self.seen[window] = [
                self._block(a, min(a + BLOCK, total), window) for a in range(0, total, BLOCK)
            ]
        return self.seen[window]

    def _block(self, a: int, b: int, window: int | None) -> Block:
        query = torch.arange(a, b, device=self.end.device)[:, None]
        key = torch.nonzero(self.end[:b] > a)[:, 0]
        mask = (key <= query) & (query < self.end[key])
        if window is not None:
            mask &= self.position[query] - self.position[key] < window
            used = mask.any(0)
            key, mask = key[used], mask[:, used]
        return slice(a, b), key, mask


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    softcap: float | None = None,
    sliding_window: int | None = None,
    visible: Sees | flex.Tiles | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attention of one pack; heads first, [1, heads, N, size], out [1, N, heads, size]. No dropout.

    Grouped-query heads share keys. With `softcap` c the scores are c tanh(scores / c) (Gemma 2).
    """
    if visible is None:
        raise ModelError("it does not hand keyword arguments to its attention")
    unknown = [k for k in ("s_aux", "position_bias") if others.get(k) is not None]
    if unknown:
        raise ModelError(f"its attention needs {unknown[0]!r}")
    if isinstance(visible, flex.Tiles):
        return flex.attend(query, key, value, visible, scaling, softcap, sliding_window), None
    groups = query.shape[1] // key.shape[1]
    out = []
    for queries, keys, mask in visible.blocks(sliding_window):
        q = query[:, :, queries]
        k, v = key.index_select(2, keys), value.index_select(2, keys)
        if groups > 1:
            k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        if softcap is None:
            out.append(F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scaling))
        else:
            out.append(_capped(q, k, v, mask, scaling, softcap))
    return torch.cat(out, 2).transpose(1, 2).contiguous(), None


def _capped(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scaling: float | None, cap: float
) -> Tensor:
    scores = q @ k.transpose(2, 3) * (q.shape[-1] ** -0.5 if scaling is None else scaling)
    scores = (torch.tanh(scores / cap) * cap).masked_fill(~mask, float("-inf"))
    return torch.softmax(scores, -1, dtype=torch.float32).to(v.dtype) @ v


AttentionInterface.register(NAME, packed_attention)
AttentionInterface.register(FLEX, packed_attention)


def choose(how: str, model: Any) -> str:
    """What `optim.attention` comes to, "flex" or "mask"; "auto" is flex on a GPU."""
    kind = model.get_input_embeddings().weight.device.type
    if how == "flex" and kind == "cpu":
        raise ModelError('optim.attention = "flex" cannot train on a CPU: set "auto" or "mask"')
    if how != "auto" or kind != "cuda":
        return "mask" if how == "auto" else how
    config = model.config.get_text_config()
    heads = getattr(config, "num_attention_heads", None) or config.hidden_size
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    return "flex" if size >= LEAST else "mask"


def inputs(model: Any, ids: Tensor, position: Tensor, end: Tensor) -> dict[str, Any]:
    """What the body is given for one pack, `ids` and `position` [1, N], `end` [N].

    Under flex attention the pack is padded: hidden states behind the N-th mean nothing.
    """
    visible: Sees | flex.Tiles
    if model.config._attn_implementation == FLEX:
        ids, position, end = flex.padded(ids, position, end)
        visible = flex.Tiles(position[0], end)
    else:
        visible = Visible(position[0], end)
    return {"input_ids": ids, "position_ids": position, "visible": visible, "use_cache": False}


@contextmanager
def packed(model: Any, how: str = "mask") -> Iterator[None]:
    """The model attends by `packed_attention` inside this block, and as before after it.

    `how` is what `choose` said.
    """
    before = model.config._attn_implementation
    model.config._attn_implementation = FLEX if how == "flex" else NAME
    try:
        yield
    finally:
        model.config._attn_implementation = before


def check(model: Any, name: str, how: str = "mask") -> None:
    """Raise `ModelError`, naming the model, unless a small trie gives what its rows give."""
    tail = f"{name} cannot train packed"
    remedy = "set optim.packed = false to train it one row a leaf"
    if how == "flex":
        remedy = f'set optim.attention = "mask" to do without flex attention, or {remedy[4:]}'
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ()) - {
        "full_attention",
        "sliding_attention",
    }
    if kinds:
        raise ModelError(f"{tail}: it has layers of kind {', '.join(sorted(kinds))}; {remedy}")
    try:
        apart, windows = _apart(model, how)
    except (TypeError, ValueError, RuntimeError, AttributeError, ModelError) as error:
        raise ModelError(f"{tail}: {str(error).splitlines()[0]}; {remedy}") from error
    slides = "sliding_attention" in (getattr(config, "layer_types", None) or ())
    if slides and windows == {None}:
        raise ModelError(f"{tail}: its attention is not told its sliding window; {remedy}")
    if not apart < 1e-3:
        raise ModelError(f"{tail}: a small trie gives other values than its rows do; {remedy}")


def _apart(model: Any, how: str) -> tuple[float, set[int | None]]:
    """Largest relative difference of hidden states between a trie and its rows; windows seen."""
    device = model.get_input_embeddings().weight.device
    size = model.get_input_embeddings().weight.shape[0]
    starts = ((1, 5), (2, 4), (3, 6))
    trunk, left, right = ([(7 * i + s) % size for i in range(n)] for s, n in starts)
    a, b, c = len(trunk), len(trunk + left), len(trunk + left + right)
    position = torch.tensor([*range(b), *range(a, a + len(right))], device=device)
    end = torch.tensor([c] * a + [b] * len(left) + [c] * len(right), device=device)

    def run(**given: Any) -> Tensor:
        out: Tensor = model.base_model(**given).last_hidden_state
        return out[0]

    def row(ids: list[int]) -> Tensor:
        return run(input_ids=torch.tensor([ids], device=device), use_cache=False)

    with torch.no_grad():
        rows = torch.cat([row(trunk + left), row(trunk + right)[a:]])
        with packed(model, how):
            ids = torch.tensor([trunk + left + right], device=device)
            given = inputs(model, ids, position[None], end)
            trie = run(**given)[:c]
    return float((trie - rows).abs().max() / rows.abs().max()), set(given["visible"].seen)
