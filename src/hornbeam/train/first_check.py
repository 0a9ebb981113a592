"""What is tried on a model before it learns: does a pack, or a batch, give what rows give alone?

A small trie and a small padded batch are held against plain rows in evaluation mode: hidden states
have to agree to `CLOSE` of the largest (a right one is some 1e-6 away), in the mode that training
runs in. Windows, chunks and thresholds are mostly longer than these rows: they are right by how the
mask is made (`attention`) and how rows are cut (`rope`), and `Policy` compares the first real step
once more. A model that a token's successors change, or that draws random numbers, is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hornbeam.errors import ModelError
from hornbeam.train import attention, rope, weights
from hornbeam.train.train_settings import OptimSettings

CLOSE = 2e-5  # of the largest hidden value
# Of what is chosen sparsely (by an indexer, by blocks) short rows show nothing.
KINDS = {"full_attention", "sliding_attention", "chunked_attention", "attention", "hybrid"}
KINDS |= {"hybrid_sliding", "linear_attention", "conv", "mamba", "mlp", "moe"}
TRUNK, LEFT, RIGHT = 4, 5, 3  # tokens of the small trie
ERRORS = (
    TypeError,
    ValueError,
    RuntimeError,
    AttributeError,
    LookupError,
    AssertionError,
    ModelError,
)


class Checked(NamedTuple):
    """How a model attends over packs ("" where rows run flat), and how long its rows may be."""

    attention: str
    lengths: rope.Lengths


def check(model: Any, name: str, optim: OptimSettings) -> Checked:
    """How `model` is to be trained, or a `ModelError` naming it.

    The model draws no random numbers afterwards and is in evaluation mode.
    """
    how = attention.choose(optim.attention, model) if optim.packed else ""
    checked = Checked(how, rope.lengths(model))
    weights.without_noise(model)
    model.eval()
    alone = _CheckRows(model, name)
    if not how:
        _refuse(f"{name} cannot be trained", alone.flat(optim.checkpointing), "")
        return checked
    wrong = alone.packed(how, optim.checkpointing)
    if wrong:
        remedy = ""
        if how == "flex" and not alone.packed("mask", optim.checkpointing):
            remedy = '; set optim.attention = "mask" to do without flex attention'
        elif not alone.flat(optim.checkpointing):
            remedy = "; set optim.packed = false to train it one row a leaf"
        elif optim.checkpointing and not alone.packed(how, False):
            remedy = "; set optim.checkpointing = false"
        _refuse(f"{name} cannot train packed", wrong, remedy)
    return checked


def check_packed(model: Any, name: str) -> None:
    """Raise `ModelError` unless packs by masks are right for a model (no training asked of it)."""
    wrong = _CheckRows(model, name).packed("mask", False)
    _refuse(f"{name} cannot read packed", wrong, "")


def _refuse(who: str, wrong: str, remedy: str) -> None:
    if wrong:
        raise ModelError(f"{who}: {wrong}{remedy}")


class _CheckRows:
    """Two rows with a common beginning, and what they give alone."""

    def __init__(self, model: Any, name: str) -> None:
        self.model, self.name = model, name
        self.device = model.get_input_embeddings().weight.device
        size = model.get_input_embeddings().weight.shape[0]
        self.turn = rope.lengths(model).turn
        parts = ((1, TRUNK), (2, LEFT), (3, RIGHT))
        trunk, left, right = ([(7 * i + s) % size for i in range(n)] for s, n in parts)
        self.rows = [trunk + left, trunk + right]
        other = [*self.rows[0][:-1], (self.rows[0][-1] + 1) % size]
        try:
            with torch.no_grad():
                self.alone = [self._row(ids) for ids in self.rows]
                changed = self._row(other)
        except ERRORS as error:
            raise ModelError(f"{name}: does not run on token ids alone: {_line(error)}") from error
        if not _near(changed[:-1], self.alone[0][:-1]):
            raise ModelError(f"{name} cannot be trained: a token of it sees those that follow")

    def _row(self, ids: Sequence[int]) -> Tensor:
        given = torch.tensor([list(ids)], device=self.device)
        return attention.run_rows(self.model, given, None)[0]

    def packed(self, how: str, checkpointing: bool) -> str:
        """What is wrong with a pack of both; "" if nothing."""
        (long, short), a = self.rows, TRUNK
        b, c = len(long), len(long) + len(short) - a
        position = torch.tensor([*range(b), *range(a, len(short))], device=self.device)
        end = torch.tensor([c] * a + [b] * (b - a) + [c] * (c - b), device=self.device)
        ids = torch.tensor([long + short[a:]], device=self.device)

        def run() -> Tensor:
            return attention.run(self.model, ids, position[None], end)[0, :c]

        kinds = set(getattr(self.model.config.get_text_config(), "layer_types", None) or ())
        if kinds - KINDS:
            return f"it has layers of kind {', '.join(sorted(kinds - KINDS))}"
        alone = torch.cat([self.alone[0], self.alone[1][a:]])
        try:
            with attention.packed(self.model, how):
                return self._difference(run, alone, checkpointing, "a small trie", how != "flex")
        except ERRORS as error:  # of a mixer that is tried
            return _line(error)

    def flat(self, checkpointing: bool) -> str:
        """What is wrong with a padded batch of both; "" if nothing."""
        longest = max(len(row) for row in self.rows)
        ids = torch.zeros(2, longest, dtype=torch.long, device=self.device)
        real = torch.zeros(2, longest, dtype=torch.bool, device=self.device)
        for n, row in enumerate(self.rows):
            ids[n, : len(row)] = torch.tensor(row)
            real[n, : len(row)] = True

        def run() -> Tensor:
            return attention.run_rows(self.model, ids, real)[real]

        return self._difference(run, torch.cat(self.alone), checkpointing, "a padded batch", True)

    def _difference(
        self, run: Any, alone: Tensor, checkpointing: bool, what: str, backward: bool
    ) -> str:
        """What differs between a way to run both rows and the rows alone; "" if nothing."""
        keep = weights.keeping_inputs(self.model) if checkpointing else nullcontext()
        some = [p for p in self.model.parameters() if p.requires_grad][:1]
        try:
            with keep, torch.set_grad_enabled(backward):
                found = run()
                if backward and some:
                    torch.autograd.grad(found.sum(), some, allow_unused=True)
        except ERRORS as error:
            return _line(error)
        if not _near(found.detach(), alone):
            return f"{what} gives other values than its rows do"
        return ""


def _near(found: Tensor, wanted: Tensor) -> bool:
    """Whether hidden states agree, not-a-number being no agreement."""
    if found.shape != wanted.shape:
        return False
    return bool((found - wanted).abs().max() <= CLOSE * wanted.abs().max())


def _line(error: Exception) -> str:
    text = weights.line(error)
    if re.search(r"\bMask\b", text):  # what stands for a layer's mask was taken for a tensor
        return "its attention computes with its mask, which in a pack is no tensor"
    return text if isinstance(error, ModelError) else f"{type(error).__name__}: {text}"
