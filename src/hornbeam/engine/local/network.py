"""The causal language model as the local engine runs it: prefill of runs, one decode step of rows.

The model's own forward does the work, on the very module that is trained. How rows share a forward
is the plan, which `trial` settles by comparing with plain forwards. Axes: R rows, n new tokens, W
columns. What is kept of tokens (`kv`) and of sequences (`state`) is told in `kv_cache`.

Left out: models whose log-probs of a token hang on the tokens after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from hornbeam.arguments import one_of
from hornbeam.engine.local import position_masks
from hornbeam.engine.local.context import context_of, vocabulary_of
from hornbeam.engine.local.kv_cache import Keep, Layout
from hornbeam.engine.local.linear_layers import LinearLayers
from hornbeam.engine.local.prefix_tree import PrefixRun, State
from hornbeam.errors import ModelError


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """How rows share a forward pass."""

    prefill: str = "ragged"  # "even": rows of equal lengths; "single": also one token at a time
    decode: str = "ragged"  # "even": rows of equal lengths
    own: bool = True  # attention and masks by position (`masks`), not the model's
    whole: bool = False  # nothing is kept: every token runs the whole sequence again


RAGGED = BatchPlan()
EVEN_PREFILL = BatchPlan(prefill="even")
EVEN = BatchPlan("even", "even", own=False)
SINGLE = BatchPlan("single", "ragged")
SINGLE_EVEN = BatchPlan("single", "even", own=False)
WHOLE = BatchPlan("even", "even", own=False, whole=True)


CACHES = ("past_key_values", "cache_params")  # what models call what they keep


class Network:
    """A `transformers` causal LM, plain or with LoRA, as arithmetic on what it keeps."""

    def __init__(self, model: Any) -> None:
        kind = "a causal LM of transformers"
        model = one_of(model, torch.nn.Module, "the local engine", kind)
        if getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
            raise ModelError("the local engine runs LoRA, not prompt-learning adapters: use LoRA")
        self.model = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.config = self.model.config.get_text_config(decoder=True)
        self.vocabulary = vocabulary_of(self.model)
        self.context, self.turn = context_of(self.model)
        self.linears = LinearLayers(self.model)
        self.plan = RAGGED
        self.layout = Layout([])
        self.kept: torch.dtype | None = None  # type of what is kept of tokens, if not the weights'
        self.watched: position_masks.Places | None = None  # of the last forward, for `trial`
        taken = signature(self.model.forward).parameters
        self._takes = {name for name in ("position_ids", "logits_to_keep") if name in taken}
        self._cache = next((name for name in CACHES if name in taken), CACHES[0])
        configs = {id(c): c for m in self.model.modules() if (c := getattr(m, "config", None))}
        self._configs = [c for c in configs.values() if hasattr(c, "_attn_implementation_internal")]

    @property
    def like(self) -> Tensor:
        """Any weight: tells device and type."""
        weight: Tensor = next(self.model.parameters())
        return weight

    @property
    def _unit(self) -> int:
        """Numbers that are kept of a token, or as many as tell its memory."""
        return self.layout.features or int(getattr(self.config, "hidden_size", None) or 1)

    @property
    def logits_cost(self) -> int:
        """Memory of one row of logits, in tokens' worth of what is kept (rounded up)."""
        return -(-self.vocabulary // self._unit)

    @property
    def state_cost(self) -> int:
        """Memory of a sequence's state, in tokens' worth of what is kept (rounded up)."""
        return -(-self.layout.state_features // self._unit)

    def empty(self, rows: int, width: int) -> Tensor:
        """Room for what is kept of tokens; in whole runs that is their ids."""
        if self.plan.whole:
            return torch.zeros(1, 1, rows, 1, width, 1, dtype=torch.long, device=self.like.device)
        return self.layout.columns(self.like, rows, width, self.kept)

    def blank(self, rows: int) -> State:
        """The states of rows before their first token."""
        return () if self.plan.whole else self.layout.state(self.like, rows)

    @contextmanager
    def sampling(self) -> Iterator[None]:
        """The model as it must be to sample: dropout off.

        What was in training mode is so again afterwards, module by module.
        """
        training = [module for module in self.model.modules() if module.training]
        for module in training:
            module.training = False
        try:
            yield
        finally:
            for module in training:
                module.training = True

    def batches(self, runs: Sequence[PrefixRun]) -> Iterator[list[PrefixRun]]:
        """Runs that may be run at once."""
        for _, alike in groupby(sorted(runs, key=self._alike), self._alike):
            yield from batches(list(alike))

    def _alike(self, run: PrefixRun) -> tuple[int, ...]:
        """What runs of one batch have in common."""
        size = len(run.tokens)
        if self.plan.prefill == "ragged":
            return (run.far,)
        return (run.start + size,) if self.plan.whole else (run.start, size)

    def far(self, length: int) -> int:
        """What `PrefixTree` and `PrefixRun` are given for a sequence of so many tokens plus one."""
        return self.turn if 0 < self.turn <= length else 0

    def end(self, length: int) -> int:
        """Tokens that a sequence may have which begins with a prompt of so many.

        One that begins before the turn ends there: its first tokens would be seen anew.
        """
        return self.turn if length < self.turn else self.context

    @torch.no_grad()
    def prefill(self, runs: Sequence[PrefixRun]) -> list[tuple[Tensor, Tensor, State]]:
        """What is kept of the tokens, logits and state after the last one, of each run.

        The runs are one of `batches`, their parents have theirs. Rows are padded: contexts on the
        right, new tokens on the left, so that all end together.
        """
        far = runs[0].far
        new = max(len(run.tokens) for run in runs) + (far > 0)
        past = max(run.start for run in runs)
        kv, state = self.empty(len(runs), past + new), self.blank(len(runs))
        tokens = torch.zeros(len(runs), new, dtype=torch.long)
        for row, run in enumerate(runs):
            copy_path(run.path()[:-1], kv[:, :, row])
            copy_state(run.parent, state, row)
            tokens[row, new - len(run.tokens) :] = torch.tensor(run.tokens)
        if self.plan.whole:
            logits = self._whole(runs, kv)
        elif self.plan.prefill == "single" and past:
            for at in range(new):
                one, upto = tokens[:, at : at + 1].to(kv.device), kv[..., : past + at + 1, :]
                logits = self._forward(one, None, Keep(self.layout, upto, state, past + at))
        else:
            places = self._ragged(runs, past, new, kv.device) if self.plan.own else None
            keep = Keep(self.layout, kv, state, past, uneven=self.plan.prefill == "ragged")
            logits = self._forward(tokens.to(kv.device), places, keep, far)
        ends = past + new
        return [
            (
                kv[:, :, row, :, ends - len(run.tokens) : ends].clone(),
                logits[row].clone(),
                tuple(part[row].clone() for part in state),
            )
            for row, run in enumerate(runs)
        ]

    def _whole(self, runs: Sequence[PrefixRun], kv: Tensor) -> Tensor:
        """Logits of sequences of equal length; the new ids end where the columns end."""
        rows = []
        for row, run in enumerate(runs):
            own = torch.tensor(run.tokens, device=kv.device)
            kv[0, 0, row, 0, kv.shape[4] - len(own) :, 0] = own
            rows.append(torch.cat([kv[0, 0, row, 0, : run.start, 0], own]))
        return self._plain(torch.stack(rows))

    def _ragged(
        self, runs: Sequence[PrefixRun], past: int, new: int, device: torch.device
    ) -> position_masks.Places:
        starts = torch.tensor([run.start for run in runs], device=device)[:, None]
        sizes = torch.tensor([len(run.tokens) for run in runs], device=device)[:, None]
        column = torch.arange(past, device=device)[None]
        before = torch.where(column < starts, column, -1)
        offset = torch.arange(new, device=device)[None] - (new - sizes)
        queries = torch.where(offset >= 0, starts + offset, -1)
        return position_masks.Places(queries, torch.cat([before, queries], 1), self.like.dtype)

    @torch.no_grad()
    def decode(
        self, tokens: Sequence[int], lengths: Sequence[int], kv: Tensor, state: State
    ) -> Tensor:
        """Logits [R, V] after one more token a row; row r holds `lengths[r]` tokens and a state."""
        step = torch.tensor(tokens, device=kv.device)[:, None]
        if self.plan.decode == "even":
            return self._even(step, lengths, kv, state)
        at = torch.tensor(lengths, device=kv.device)
        columns = torch.arange(kv.shape[4], device=kv.device).expand(len(lengths), -1)
        places = position_masks.Places(at[:, None], columns, self.like.dtype)
        keep = Keep(self.layout, kv, state, max(lengths), at, uneven=True)
        return self._forward(step, places, keep)

    def _even(self, step: Tensor, lengths: Sequence[int], kv: Tensor, state: State) -> Tensor:
        """A step of rows of equal length at a time, on copies of what they hold."""
        out: list[Tensor] = [step] * len(lengths)
        order = sorted(range(len(lengths)), key=lengths.__getitem__)
        for length, alike in groupby(order, lengths.__getitem__):
            rows = torch.tensor(list(alike), device=kv.device)
            part = kv[..., : length + 1, :].index_select(2, rows)
            own = tuple(held.index_select(0, rows) for held in state)
            if self.plan.whole:
                part[0, 0, :, 0, length] = step[rows]
                logits = self._plain(part[0, 0, :, 0, :, 0])
            else:
                logits = self._forward(step[rows], None, Keep(self.layout, part, own, length))
            kv[:, :, rows, :, length] = part[..., length, :]
            for held, new in zip(state, own):
                held[rows] = new
            for row, row_logits in zip(rows.tolist(), logits):
                out[row] = row_logits
        return torch.stack(out)

    def _forward(
        self, tokens: Tensor, places: position_masks.Places | None, keep: Keep, far: int = 0
    ) -> Tensor:
        """Logits [R, V] after the last token; `keep` holds the new columns and states.

        Padding stands at place `far`, which the model takes for that of a token.
        """
        given: dict[str, Any] = {self._cache: keep, "use_cache": True}
        if places is not None:
            if self.layout.count:  # ones: transformers neither pads nor looks for packed rows
                given["attention_mask"] = torch.ones_like(places.keys, dtype=torch.bool)
            if "position_ids" in self._takes:
                given["position_ids"] = places.queries.masked_fill(places.queries < 0, far)
        before = keep.state()
        with self._attending(places):
            logits = self._plain(tokens, **given)
        for held, new in zip(before, keep.state()):
            if new is not held:
                held.copy_(new)
        self.watched = places
        return logits

    def _plain(self, tokens: Tensor, **given: Any) -> Tensor:
        if "logits_to_keep" in self._takes:
            given["logits_to_keep"] = 1
        given.setdefault("use_cache", False)
        with self.linears.applied():
            logits: Tensor = self.model(input_ids=tokens, **given).logits[:, -1]
        return logits

    @contextmanager
    def _attending(self, places: position_masks.Places | None) -> Iterator[None]:
        """Attention and masks by position in this block, where there are positions."""
        if places is None:
            yield
            return
        before = [config._attn_implementation_internal for config in self._configs]
        for config in self._configs:
            config._attn_implementation_internal = position_masks.NAME
        try:
            with position_masks.placed(places):
                yield
        finally:
            for config, name in zip(self._configs, before):
                config._attn_implementation_internal = name


def copy_path(path: Sequence[PrefixRun], kv: Tensor) -> None:
    """Write what is kept of a path's tokens into a row [a, b, heads, W, size], from 0 on."""
    for run in path:
        assert run.kv is not None
        kv[:, :, :, run.start : run.start + len(run.tokens)] = run.kv


def copy_state(run: PrefixRun | None, state: State, row: int) -> None:
    """Write the state after a run into a row of states; before the root nothing is to write."""
    if run is not None and run.parent is not None and state:
        assert run.state is not None
        for held, known in zip(state, run.state):
            held[row] = known


def batches(runs: Sequence[PrefixRun], limit: int = 2048) -> Iterator[list[PrefixRun]]:
    """Runs of like length together, to be run at once.

    A batch has at most `limit` padded new tokens, a quarter of padding among them, and 4 `limit`
    columns of keys and values, unless it is of one run.
    """
    batch: list[PrefixRun] = []
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
