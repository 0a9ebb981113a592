"""Where the local engine applies a linear layer: by weights laid out for the processor.

Outside `applied` the model's layers are their own. Inside it plain ones are the function that
`laid_out` makes of them, [..., in] -> [..., out].

On a CPU float32 weights are copied into oneDNN's blocked layout, which is read in order and by the
widest vectors of any maker's processor (MKL, torch's own way, takes AVX2 where AVX-512 is not
Intel's); of models that take more than `SHARE` of the memory they are read where they lie. Sums
have another order than the layer's own, the same one in every run. By `pack` they are copied in
fewer bits instead (`packed_weights`).

Left out: layers that are no `nn.Linear` (GPT-2's, experts in one tensor), small ones, whose calls
cost more than their work, and weights that a hook makes anew at every call.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from hornbeam.engine.local.packed_weights import PACK, TRAINED, format_of
from hornbeam.errors import ModelError
from hornbeam.train.onednn import LEAST, dense, fits, product

ROWS = 64  # that the layout is made for; other numbers of rows are right, too
SHARE = 0.2  # of the machine's memory, that copies may take
Apply = Callable[[Tensor], Tensor]


class LinearLayers:
    """The linear layers of a model, and their weights as the engine reads them."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._held: list[tuple[dict[str, Any], Apply]] | None = None
        self.form = TRAINED  # what they are applied by

    def pack(self, weights: str) -> None:
        """Apply them from now on by copies in a format of `engine.weights`.

        Raises `ModelError` where the machine or the model does not have that.
        """
        form = format_of(weights, next(self._model.parameters()).device)
        if form != TRAINED and weights != "auto" and not self._packable():
            name = type(self._model).__name__
            raise ModelError(
                f'engine.weights = "{form}": {name} has no linear layer of {LEAST} weights or more,'
                ' set "trained"'
            )
        self.form = form
        self.forget()

    def _packable(self) -> list[nn.Linear]:
        """Adapters are small, and rounding would lose what they learnt."""
        named = self._model.named_modules()
        return [m for name, m in named if ".lora_" not in name and dense(m)]

    def _applies(self) -> list[tuple[dict[str, Any], Apply]]:
        held: dict[int, tuple[dict[str, Any], Apply]] = {}
        layers = [layer for layer in self._model.modules() if fits(layer)]
        size = sum(layer.weight.nbytes for layer in layers)
        if self.form != TRAINED:
            chosen = self._packable()
            held = {id(m): (m.__dict__, packed(m, self.form)) for m in chosen}
            layers = [layer for layer in layers if id(layer) not in held]
        copied = size <= SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return [*held.values(), *((m.__dict__, laid_out(m, copied)) for m in layers)]

    def forget(self) -> None:
        """Drop the copies: the weights have changed, or their memory is wanted."""
        self._held = None

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model's linear layers read the copies in this block."""
        if self._held is None:
            self._held = self._applies()
        held = self._held
        for own, apply in held:
            own["forward"] = apply
        try:
            yield
        finally:
            for own, _ in held:
                own.pop("forward", None)


@torch.no_grad()
def laid_out(layer: nn.Linear, copied: bool = True) -> Apply:
    """How to apply a layer by its present weights, `copied` into blocks or where they lie."""
    weight = layer.weight.detach()
    bias = None if layer.bias is None else layer.bias.detach()
    if copied:
        weight = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)

    def apply(x: Tensor) -> Tensor:
        return product(x, weight, bias)

    return apply


@torch.no_grad()
def packed(layer: nn.Linear, form: str) -> Apply:
    """How to apply a layer by a copy of its present weights in a format of `PACK`."""
    times = PACK[form](layer.weight.detach())
    bias = None if layer.bias is None else layer.bias.detach()

    def apply(x: Tensor) -> Tensor:
        out = times(x.reshape(-1, x.shape[-1]))
        if bias is not None:
            out += bias
        return out.view(*x.shape[:-1], -1).to(x.dtype)

    return apply
