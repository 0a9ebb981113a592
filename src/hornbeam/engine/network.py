"""The causal language model as the local engine runs it: prefill of runs, one decode step of rows.

The model's own forward does the work, on the very module that is trained; it is given positions, a
ready 4D mask and a key-value cache that writes in place. Axes: R rows, n new tokens, W columns of
keys. Keys and values are [2, layers, R, heads, W, dim], heads being the key-value heads.

Left out: models whose layers differ in key-value shape or keep other state than keys and values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from hornbeam.engine.prefix import Run
from hornbeam.errors import ModelError

KINDS = {"full_attention", "sliding_attention"}


class _Keep(Cache):  # type: ignore[misc]
    """Writes new keys and values into `kv`: at columns `at` [R] of each row, or from `start` on."""

    def __init__(self, kv: Tensor, start: int = 0, at: Tensor | None = None) -> None:
        super().__init__(layers=[])
        self.keys = kv[0].unbind(0)
        self.values = kv[1].unbind(0)
        self.start = start
        self.at = at
        self.rows = torch.arange(kv.shape[2], device=kv.device)

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """All keys and values of the layer, the new ones included."""
        keys, values = self.keys[layer_idx], self.values[layer_idx]
        if self.at is None:
            keys[:, :, self.start :] = key_states
            values[:, :, self.start :] = value_states
        else:
            keys[self.rows, :, self.at] = key_states[:, :, 0]
            values[self.rows, :, self.at] = value_states[:, :, 0]
        return keys, values


class Network:
    """A `transformers` causal LM, plain or with LoRA, as key-value arithmetic."""

    def __init__(self, model: Any) -> None:
        if getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
            raise ModelError("the local engine runs LoRA, not prompt-learning adapters: use LoRA")
        self.model = model.get_base_model() if hasattr(model, "get_base_model") else model
        config = self.model.config.get_text_config()
        self.config = config
        kinds = set(getattr(config, "layer_types", None) or ())
        if kinds - KINDS:
            raise ModelError(
                f"the local engine cannot run layers of type {', '.join(sorted(kinds - KINDS))}:"
                " use a model with full or sliding attention"
            )
        self.layers = int(config.num_hidden_layers)
        self.heads = int(getattr(config, "num_key_value_heads", None) or config.num_attention_heads)
        width = getattr(config, "head_dim", None)
        self.dim = int(width or config.hidden_size // config.num_attention_heads)
        self.vocabulary = int(config.vocab_size)
        self.context = int(getattr(config, "max_position_embeddings", None) or 2**31 - 1)
        window = getattr(config, "sliding_window", None)
        self.window = int(window) if window and (not kinds or "sliding_attention" in kinds) else 0
        self.mixed = bool(self.window and kinds)  # the model takes a mask for each kind of layer

    @property
    def like(self) -> Tensor:
        """Any weight: tells device and type."""
        weight: Tensor = next(self.model.parameters())
        return weight

    @property
    def logits_cost(self) -> int:
        """Memory of one row of logits, in tokens' worth of keys and values (rounded up)."""
        return -(-self.vocabulary // (2 * self.layers * self.heads * self.dim))

    def empty(self, rows: int, width: int) -> Tensor:
        """Room for keys and values; zeros, since 0 * NaN would pass through the mask."""
        shape = (2, self.layers, rows, self.heads, width, self.dim)
        return self.like.new_zeros(shape)

    @contextmanager
    def sampling(self) -> Iterator[None]:
        """The model as it must be to sample: dropout off, an attention that takes our mask.

        What was in training mode is so again afterwards, module by module.
        """
        training = [module for module in self.model.modules() if module.training]
        attention = self.config._attn_implementation
        for module in training:
            module.training = False
        if attention not in ("eager", "sdpa"):
            capped = getattr(self.config, "attn_logit_softcapping", None)
            self.config._attn_implementation = "eager" if capped else "sdpa"
        try:
            yield
        finally:
            self.config._attn_implementation = attention
            for module in training:
                module.training = True

    @torch.no_grad()
    def prefill(self, runs: Sequence[Run]) -> list[tuple[Tensor, Tensor]]:
        """Keys and values, and the logits after the last token, of runs whose parents have theirs.

        Rows are padded: contexts on the right, new tokens on the left, so that all end together.
        """
        new = max(len(run.tokens) for run in runs)
        past = max(run.start for run in runs)
        kv = self.empty(len(runs), past + new)
        device = kv.device
        tokens = torch.zeros(len(runs), new, dtype=torch.long)
        for row, run in enumerate(runs):
            copy_path(run.path()[:-1], kv[:, :, row])
            tokens[row, new - len(run.tokens) :] = torch.tensor(run.tokens)
        starts = torch.tensor([run.start for run in runs], device=device)[:, None]
        sizes = torch.tensor([len(run.tokens) for run in runs], device=device)[:, None]
        column = torch.arange(past, device=device)[None]
        before = torch.where(column < starts, column, -1)
        offset = torch.arange(new, device=device)[None] - (new - sizes)
        queries = torch.where(offset >= 0, starts + offset, -1)
        mask = self._mask(torch.cat([before, queries], 1), queries)
        logits = self._forward(tokens.to(device), queries.clamp(min=0), mask, _Keep(kv, past))
        return [
            (kv[:, :, row, :, past + new - len(run.tokens) :].clone(), logits[row].clone())
            for row, run in enumerate(runs)
        ]

    @torch.no_grad()
    def decode(self, tokens: Sequence[int], lengths: Sequence[int], kv: Tensor) -> Tensor:
        """Logits [R, V] after one more token a row; row r of `kv` holds `lengths[r]` tokens."""
        at = torch.tensor(lengths, device=kv.device)
        columns = torch.arange(kv.shape[4], device=kv.device)[None]
        mask = self._mask(columns, at[:, None])
        step = torch.tensor(tokens, device=kv.device)[:, None]
        return self._forward(step, at[:, None], mask, _Keep(kv, at=at))

    def _forward(self, tokens: Tensor, positions: Tensor, mask: Any, keep: _Keep) -> Tensor:
        out = self.model(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=keep,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: Tensor = out.logits[:, -1]
        return logits

    def _mask(self, keys: Tensor, queries: Tensor) -> Tensor | dict[str, Tensor]:
        """What query positions [R, n] may see of key positions [R, W]; position -1 is padding."""
        key, query = keys[:, None, None, :], queries[:, None, :, None]
        seen = (key <= query) & (key >= 0)
        if not self.window:
            return self._additive(seen)
        near = self._additive(seen & (key > query - self.window))
        if not self.mixed:
            return near
        return {"full_attention": self._additive(seen), "sliding_attention": near}

    def _additive(self, seen: Tensor) -> Tensor:
        kind = self.like.dtype
        hidden = torch.tensor(torch.finfo(kind).min, dtype=kind, device=seen.device)
        return torch.where(seen, torch.zeros_like(hidden), hidden)


def copy_path(path: Sequence[Run], kv: Tensor) -> None:
    """Write the keys and values of a path into a row [2, layers, heads, W, dim], from 0 on."""
    for run in path:
        assert run.kv is not None
        kv[:, :, :, run.start : run.start + len(run.tokens)] = run.kv


def batches(runs: Sequence[Run], limit: int = 2048) -> Iterator[list[Run]]:
    """Runs of like length together, to be run at once.

    A batch has at most `limit` padded new tokens, a quarter of padding among them, and 4 `limit`
    columns of keys and values, unless it is of one run.
    """
    batch: list[Run] = []
    for run in sorted(runs, key=lambda r: (-len(r.tokens), -r.start)):
        rows, longest = len(batch) + 1, len((batch or [run])[0].tokens)
        columns = longest + max(r.start for r in [*batch, run])
        uneven = 4 * len(run.tokens) < 3 * longest - 4
        if batch and (uneven or rows * longest > limit or rows * columns > 4 * limit):
            yield batch
            batch = []
        batch.append(run)
    if batch:
        yield batch
