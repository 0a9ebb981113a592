"""Attention over a packed trie, put into transformers through its two registries.

transformers hands a registered *mask function* the rule of each kind of layer as a function of
(batch, head, query index, key index): causal, a window, a chunk. Asked at depths instead of indices
it is the rule of the row that the pack stands for; joined with "the key is on the query's path",

    j <= i  and  i < end(j)  and  rule(depth(i), depth(j)),

it is the exact mask of the trie, whatever the rule. The answer travels to the registered
*attention function* as the layer's mask, so no keyword argument needs to get through the model.

Queries run in blocks; a block sees only the keys that one of its queries sees, so the cost is that
of the paths, not of the square of the pack. On a GPU flex attention does so in tiles (`flex`);
`choose` says which it is. Layers that carry a state from token to token run along the trie's
segments instead (`recurrent`). `check` tries a model on a small trie; there is no list of names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface, causal_mask_function

from hornbeam.errors import ModelError
from hornbeam.train import flex, recurrent
from hornbeam.train.train_settings import BLOCK

NAME, FLEX = "hornbeam_packed", "hornbeam_flex"  # what the registries call the two ways
LEAST = 16  # size of a head from which flex attention has kernels


Block = tuple[slice, Tensor, Tensor]  # queries, keys, mask [queries, keys]
Rule = Callable[[Any, Any, Tensor, Tensor], Tensor]  # (batch, head, query, key) -> may it see


class Sees(Protocol):
    """Who sees whom in one forward pass."""

    position: Tensor  # depths of the queries

    @property
    def total(self) -> int:
        """How many keys there are."""
        ...

    def blocks(self, rule: Rule | None) -> list[Block]:
        """Blocks that cover all queries, in order; `rule` narrows what is on the path."""
        ...


@dataclass(slots=True)
class Visible:
    """Who sees whom in a pack: `position` and `end`, shape [N]."""

    position: Tensor
    end: Tensor

    @property
    def total(self) -> int:
        """How many tokens the pack has."""
        return len(self.end)

    def blocks(self, rule: Rule | None) -> list[Block]:
        """All blocks."""
        return [
            self._block(a, min(a + BLOCK, self.total), rule) for a in range(0, self.total, BLOCK)
        ]

    def _block(self, a: int, b: int, rule: Rule | None) -> Block:
        query = torch.arange(a, b, device=self.end.device)[:, None]
        key = torch.nonzero(self.end[:b] > a)[:, 0]
        mask = (key <= query) & (query < self.end[key])
        if rule is not None:
            mask &= allowed(rule, self.position[query], self.position[key][None])
            used = mask.any(0)
            key, mask = key[used], mask[:, used]
        return slice(a, b), key, mask


def allowed(rule: Rule, query: Tensor, key: Tensor) -> Tensor:
    """What a layer's rule says of depths: `query` [n, 1] against `key` [1, m], as booleans."""
    none = torch.zeros((), dtype=torch.long, device=query.device)
    return rule(none, none, query, key).to(torch.bool)


@dataclass(slots=True)
class Mask:
    """What stands for a layer's mask on the way through the model; made once a kind of layer."""

    sees: Sees | flex.Tiles
    rule: Rule | None  # None: causal, which the path implies
    made: Any = field(default=None)

    def blocks(self) -> list[Block]:
        """Blocks of a pass with masks."""
        assert not isinstance(self.sees, flex.Tiles)
        if self.made is None:
            self.made = self.sees.blocks(self.rule)
        blocks: list[Block] = self.made
        return blocks

    def tiles(self) -> Any:
        """The tiles of a pass with flex attention."""
        assert isinstance(self.sees, flex.Tiles)
        if self.made is None:
            self.made = self.sees.mask(self.rule)
        return self.made

    def __getitem__(self, part: Any) -> Mask:
        """All of it, as models ask that cut a mask to the keys there are."""
        for piece in part if isinstance(part, tuple) else (part,):
            whole = isinstance(piece, slice) and not piece.start and piece.step is None
            if not whole or (piece.stop is not None and piece.stop < self.sees.total):
                raise ModelError("it cuts its attention mask")
        return self


_NOW: ContextVar[Sees | flex.Tiles | None] = ContextVar("hornbeam_pass", default=None)


def layer_mask(
    *,
    mask_function: Rule = causal_mask_function,
    use_vmap: bool = False,
    **_: Any,
) -> Mask:
    """The mask of one kind of layer in the present pass (called by transformers)."""
    sees = _NOW.get()
    if sees is None:
        raise ModelError("its mask is asked for outside a pack")
    if use_vmap:
        raise ModelError("its attention mask is more than a rule of positions")
    return Mask(sees, None if mask_function is causal_mask_function else mask_function)


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Any,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attention of one pack; heads first, [1, heads, N, size], out [1, N, heads, size]. No dropout.

    Grouped-query heads share keys. With `softcap` c the scores are c tanh(scores / c) (Gemma 2);
    with sinks `s_aux` [heads] each head has one more score that no value belongs to (GPT-OSS).
    """
    if not isinstance(attention_mask, Mask):
        raise ModelError("it hands its attention a mask of its own making")
    unknown = [k for k in ("position_bias", "attention_bias") if others.get(k) is not None]
    if unknown:
        raise ModelError(f"its attention needs {unknown[0]!r}")
    if getattr(module, "attn_temperature_tuning", False) and not getattr(module, "use_rope", True):
        query = _retuned(module, query, attention_mask.sees.position)
    if isinstance(attention_mask.sees, flex.Tiles):
        tiles = attention_mask.tiles()
        return flex.attend(query, key, value, tiles, scaling, softcap, s_aux), None
    out = []
    for queries, keys, mask in attention_mask.blocks():
        k, v = key.index_select(2, keys), value.index_select(2, keys)
        out.append(attend(query[:, :, queries], k, v, mask, scaling, softcap, s_aux))
    return torch.cat(out, 2).transpose(1, 2).contiguous(), None


def _retuned(module: Any, query: Tensor, position: Tensor) -> Tensor:
    """Queries scaled by their depth. Llama 4 has scaled those of layers without rope by index."""

    def scale(at: Tensor) -> Tensor:
        steps = torch.floor((at.float() + 1) / float(module.floor_scale))
        return torch.log1p(steps) * float(module.attn_scale) + 1

    index = torch.arange(query.shape[2], device=query.device)
    more: Tensor = scale(position) / scale(index)
    return (query * more[None, None, :, None]).to(query.dtype)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor,
    scaling: float | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """Attention by a boolean mask that broadcasts to [batch, heads, queries, keys]; heads first.

    Keys and values may have fewer heads than queries, and sizes of their own.
    """
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    if softcap is None and sinks is None:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling)
    scores = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    scores = scores.masked_fill(~mask, float("-inf"))
    if sinks is not None:
        column = sinks.reshape(1, -1, 1, 1).expand(*scores.shape[:3], 1)
        scores = torch.cat([scores, column.to(scores.dtype)], -1)
    weight = torch.softmax(scores, -1, dtype=torch.float32)[..., : key.shape[2]]
    return weight.to(value.dtype) @ value


for _name in (NAME, FLEX):
    AttentionInterface.register(_name, packed_attention)
    AttentionMaskInterface.register(_name, layer_mask)


def choose(how: str, model: Any) -> str:
    """What `optim.attention` comes to, "flex" or "mask"; "auto" is flex on a GPU."""
    kind = model.get_input_embeddings().weight.device.type
    if how == "flex" and kind == "cpu":
        raise ModelError('optim.attention = "flex" cannot train on a CPU: set "auto" or "mask"')
    if how != "auto" or kind != "cuda":
        return "mask" if how == "auto" else how
    return "flex" if min(head_sizes(model)) >= LEAST else "mask"


def head_sizes(model: Any) -> set[int]:
    """The sizes of the attention heads that the configuration names, of all layers."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_attention_heads", None) or config.hidden_size
    names = ("head_dim", "global_head_dim", "swa_head_dim", "v_head_dim", "qk_rope_head_dim")
    sizes = {getattr(config, name, None) for name in names}
    own = getattr(config, "per_layer_config", None) or {}
    sizes |= {layer.get("head_dim") for layer in own.values() if isinstance(layer, dict)}
    return {int(size) for size in sizes if size} or {config.hidden_size // heads}


@contextmanager
def seeing(sees: Sees | flex.Tiles) -> Iterator[None]:
    """Masks that the model asks for inside this block are those of this pass."""
    token = _NOW.set(sees)
    try:
        yield
    finally:
        _NOW.reset(token)


def body(model: Any) -> Any:
    """What makes hidden states of token ids: the model without its head."""
    base = model.base_model
    while base.get_output_embeddings() is not None:  # Llama 4 and Mllama nest one with a head
        parts = (getattr(base, name, None) for name in ("model", "language_model"))
        inner = next((part for part in parts if isinstance(part, PreTrainedModel)), None)
        if inner is None:
            break
        base = inner
    return base


def run_rows(model: Any, ids: Tensor, real: Tensor | None) -> Tensor:
    """Last hidden states of plain rows `ids` [rows, longest]; `real` is False where padded.

    Positions are left to the model: RoBERTa's begin behind its padding id.
    """
    out = body(model)(input_ids=ids, attention_mask=real, use_cache=False)
    hidden: Tensor = out.last_hidden_state
    return hidden


def run(model: Any, ids: Tensor, position: Tensor, end: Tensor) -> Tensor:
    """Last hidden states [.., size] of one pack by the model's body; inside `packed`.

    `ids` and `position` are [1, N], `end` is [N]. Under flex attention the pack is padded: hidden
    states behind the N-th mean nothing.
    """
    sees: Sees | flex.Tiles
    recurrent.lay(model, position[0])
    if model.config._attn_implementation == FLEX:
        ids, position, end = flex.padded(ids, position, end)
        sees = flex.Tiles(position[0], end)
    else:
        sees = Visible(position[0], end)
    with seeing(sees):
        out = body(model)(
            input_ids=ids,
            position_ids=position,
            attention_mask=torch.ones_like(ids),  # else a jump of positions is a packed sequence
            use_cache=False,
        )
    hidden: Tensor = out.last_hidden_state
    return hidden


@contextmanager
def packed(model: Any, how: str = "mask") -> Iterator[None]:
    """The model attends by `packed_attention` inside this block, and as before after it.

    `how` is what `choose` said. Layers with a state run along segments.
    """
    configs = _configs(model)
    before = [config._attn_implementation for config in configs]
    for config in configs:
        config._attn_implementation_internal = FLEX if how == "flex" else NAME
    try:
        with recurrent.rerouted(model):
            yield
    finally:
        for config, was in zip(configs, before):
            config._attn_implementation_internal = was


def _configs(model: Any) -> list[Any]:
    """The configurations that the model's parts read; some keep copies."""
    found = {id(model.config): model.config}
    for module in model.modules():
        config = getattr(module, "config", None)
        if hasattr(config, "_attn_implementation_internal"):
            found[id(config)] = config
    return list(found.values())
