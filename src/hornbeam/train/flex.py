"""Attention over a packed trie by flex attention, for GPUs: memory linear in the pack.

The mask is a grid of tiles, `BLOCK` queries by `BLOCK` keys: tiles that nobody sees are left out,
those that are seen whole need no mask, and the rest ask token by token. Which is which follows from
the least and the greatest `end` of a tile, so nothing of the square of the pack is ever held.

A kernel is compiled for a length. Packs are padded to one of few lengths (`room`), so that packs of
any length share some kernels. Source: Dong et al. 2024, arXiv 2412.05496.

Left out: a backward pass on a CPU, which torch does not have.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention.flex_attention import BlockMask, flex_attention

Rule = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
BLOCK = 128  # queries, and keys, of a tile
STEPS = 8  # lengths of packs between one power of two and the next
KERNELS = 256  # compiled for lengths, windows, with and without gradient; beyond it would run slow


@dataclass(slots=True)
class Tiles:
    """Who sees whom in a pack: `position` and `end`, shape [P], P as `room` gives it."""

    position: Tensor
    end: Tensor

    @property
    def total(self) -> int:
        """How many tokens the padded pack has."""
        return len(self.end)

    def mask(self, rule: Rule | None) -> BlockMask:
        """The mask of a pass; `rule` (batch, head, depth, depth) narrows what is on the path."""
        position, end = self.position, self.end
        first = torch.arange(0, len(end), BLOCK, device=end.device)
        ends = end.view(-1, BLOCK)
        earlier = first < first[:, None]  # [queries' tile, keys' tile]
        some = earlier & (ends.amax(1) > first[:, None])
        whole = earlier & (ends.amin(1) >= first[:, None] + BLOCK)

        def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            visible = (key <= query) & (query < end[key])
            if rule is not None:
                visible = visible & rule(batch, head, position[query], position[key])
            return visible

        if rule is not None:  # one row of tiles at a time: a rule may be anything
            none = torch.zeros((), dtype=torch.long, device=end.device)
            keys = torch.arange(len(end), device=end.device)
            for row, start in enumerate(first.tolist()):
                queries = keys[start : start + BLOCK, None]
                seen = sees(none, none, queries, keys[None]).view(BLOCK, -1, BLOCK)
                some[row] &= seen.any(2).any(0)
                whole[row] &= seen.all(2).all(0)
        some |= torch.eye(len(first), dtype=torch.bool, device=end.device)
        return BlockMask.from_kv_blocks(
            *_listed(some & ~whole),
            *_listed(whole),
            BLOCK_SIZE=BLOCK,
            mask_mod=sees,
            seq_lengths=(len(end), len(end)),
        )


def _listed(tiles: Tensor) -> tuple[Tensor, Tensor]:
    """(how many tiles each row has, which: those first), int32 [1, 1, rows] and [.., columns]."""
    order = torch.argsort(tiles.int(), dim=-1, descending=True, stable=True)
    return tiles.sum(-1, dtype=torch.int32)[None, None], order.to(torch.int32)[None, None]


def room(tokens: int) -> int:
    """The least length that packs come in and that holds so many tokens; an eighth more at most.

    (Of short packs, a tile more at most.)
    """
    step = max(BLOCK, (1 << tokens.bit_length() >> 1) // STEPS)
    return -(-tokens // step) * step


def padded(ids: Tensor, position: Tensor, end: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`ids` and `position` [1, N], `end` [N], with tokens behind them that see themselves alone."""
    size = len(end)
    more = room(size) - size
    own = torch.arange(size + 1, size + more + 1, device=end.device)
    return F.pad(ids, (0, more)), F.pad(position, (0, more)), torch.cat([end, own])


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: BlockMask,
    scaling: float | None,
    softcap: float | None,
    sinks: Tensor | None = None,
) -> Tensor:
    """Attention of one padded pack; heads first, [1, heads, P, size], out [1, P, heads, size].

    A sink s is one more score without a value: it leaves exp(lse) / (exp(lse) + exp(s)) of the
    weights' sum, lse being the log of the sum over the keys.
    """

    def capped(score: Tensor, *_: Tensor) -> Tensor:
        assert softcap is not None
        return torch.tanh(score / softcap) * softcap

    kind = query.device.type
    if torch.is_autocast_enabled(kind):  # rotary embeddings leave queries and keys in float32
        query, key, value = (t.to(torch.get_autocast_dtype(kind)) for t in (query, key, value))
    run: Any = flex_attention if kind == "cpu" else compiled()
    output = run(
        query,
        key,
        value,
        score_mod=None if softcap is None else capped,
        block_mask=mask,
        scale=scaling,
        enable_gqa=True,
        **({} if sinks is None else {"return_lse": True}),
    )
    out: Tensor = output
    if sinks is not None:
        out, lse = output
        out = out * torch.sigmoid(lse - sinks[:, None].float())[..., None].to(out.dtype)
    return out.transpose(1, 2).contiguous()


@cache
def compiled(backend: str = "inductor") -> Callable[..., Any]:
    """Flex attention compiled for each length, and never run uncompiled without a word."""
    import torch._dynamo  # slow to import

    run = torch.compile(flex_attention, backend=backend, dynamic=False, fullgraph=True)

    def limited(*args: Any, **more: Any) -> Any:
        with torch._dynamo.config.patch(recompile_limit=KERNELS):  # it is 8
            return run(*args, **more)

    return limited
