"""Sampling for many rows at once: inverse CDF, one uniform a row, no sort of the vocabulary.

Axes: B rows, V tokens of the vocabulary. `torch.multinomial` is left out: it takes tens of
milliseconds a call at V = 49k, and it draws all rows from one stream, so that a row's sample would
hang on its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hornbeam.engine.request import Sampling

BLOCK = 256  # tokens summed at the first level of the inverse CDF
HEAD = 256  # how many of the likeliest tokens top-p looks at first


class Picks(NamedTuple):
    """What was picked in each row; `sound` is False where the logits are not finite."""

    tokens: list[int]
    logprobs: list[float]
    sound: list[bool]


def uniforms(seed: int, count: int) -> list[float]:
    """The uniforms of a request: number t of seed s is the same in every batch."""
    draws: list[float] = np.random.Generator(np.random.Philox(seed % 2**64)).random(count).tolist()
    return draws


@torch.no_grad()
def pick(logits: Tensor, samplings: Sequence[Sampling], draws: Sequence[float]) -> Picks:
    """One token a row of `logits` [B, V], by that row's sampling and its uniform.

    The log-probs are log-softmax(logits / temperature) over all V tokens (temperature 1 where
    greedy), whatever top-k and top-p leave to choose from.
    """
    temperatures = [s.temperature or 1.0 for s in samplings]
    scores = logits.float()
    if any(t != 1.0 for t in temperatures):
        scores = scores / torch.tensor(temperatures, device=scores.device)[:, None]
    probs = scores.softmax(-1)
    greedy = [s.temperature == 0 for s in samplings]
    if all(greedy):
        tokens = probs.argmax(-1)
    else:
        uniform = torch.tensor(draws, dtype=torch.float64, device=probs.device)
        tokens = inverse_cdf(_allowed(probs, samplings), uniform)
        if any(greedy):
            tokens = torch.where(_on(greedy, probs), probs.argmax(-1), tokens)
    chosen = probs.gather(1, tokens[:, None])[:, 0]
    sound = chosen.isfinite() & (chosen > 0)
    return Picks(tokens.tolist(), chosen.log().tolist(), sound.tolist())


def _on(flags: Sequence[bool], like: Tensor) -> Tensor:
    return torch.tensor(flags, device=like.device)


def _allowed(probs: Tensor, samplings: Sequence[Sampling]) -> Tensor:
    """`probs`, with 0 for what top-k and top-p exclude."""
    rows = [i for i, s in enumerate(samplings) if s.temperature and (s.top_k or s.top_p < 1)]
    if not rows:
        return probs
    top_k = torch.tensor([samplings[i].top_k or probs.shape[1] for i in rows], device=probs.device)
    top_p = torch.tensor([samplings[i].top_p for i in rows], device=probs.device)
    at = torch.tensor(rows, device=probs.device)
    out = probs.clone()
    out[at] = truncate(probs[at], top_k, top_p)
    return out


def truncate(probs: Tensor, top_k: Tensor, top_p: Tensor, width: int = HEAD) -> Tensor:
    """`probs` [B, V] with 0 outside the `top_k` [B] likeliest and the nucleus `top_p` [B].

    The nucleus is taken after top-k, as transformers does: a token stays iff the likelier ones
    hold less than `top_p` of what top-k left (Holtzman et al. 2020, arXiv 1904.09751). Only the
    `width` likeliest are ordered; rows whose nucleus is wider are done again with eight times that.
    """
    size = probs.shape[1]
    width = min(size, max([width, *(k for k in top_k.tolist() if k < size)]))
    values, order = probs.topk(width)
    inside = torch.arange(width, device=probs.device) < top_k[:, None]
    kept = (values * inside).double()
    mass = torch.where(top_k < size, kept.sum(-1), 1.0)
    limit = torch.where(top_p < 1, top_p * mass, torch.inf)
    inside &= kept.cumsum(-1) - kept < limit[:, None]
    out = torch.zeros_like(probs).scatter_(1, order, values * inside)
    wider = inside[:, -1] & (top_k > width)
    if width < size and bool(wider.any()):
        out[wider] = truncate(probs[wider], top_k[wider], top_p[wider], 8 * width)
    return out


def inverse_cdf(weights: Tensor, uniform: Tensor) -> Tensor:
    """In each row of `weights` [B, V] the first i with cumsum(weights)[i] > uniform * sum(weights).

    `uniform` [B] lies in [0, 1), float64. Sums of blocks first, then inside the one block that
    holds the point, so that the long axis is read once. A token of weight 0 is never picked.
    """
    rows, size = weights.shape
    blocks = torch.nn.functional.pad(weights, (0, -size % BLOCK)) if size % BLOCK else weights
    blocks = blocks.view(rows, -1, BLOCK)
    sums = blocks.sum(-1).double().cumsum(-1)
    point = (uniform * sums[:, -1])[:, None]
    block = (sums <= point).sum(-1, keepdim=True).clamp_(max=sums.shape[1] - 1)
    point = point - torch.where(block > 0, sums.gather(1, (block - 1).clamp_(min=0)), 0.0)
    inner = blocks.gather(1, block[:, :, None].expand(rows, 1, BLOCK))[:, 0].double().cumsum(-1)
    point = torch.minimum(point.clamp_(min=0), inner[:, -1:] * (1 - 2**-50))
    return (block * BLOCK + (inner <= point).sum(-1, keepdim=True))[:, 0].clamp_(max=size - 1)
