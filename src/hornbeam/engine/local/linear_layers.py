"""Where the local engine applies a linear layer: by weights laid out for the processor.

Outside `applied` the model's layers are their own. Inside it plain ones are the function that
`laid_out` makes of them, [..., in] -> [..., out].

On a CPU float32 weights are copied into oneDNN's blocked layout, which is read in order and by the
widest vectors of any maker's processor (MKL, torch's own way, takes AVX2 where AVX-512 is not
Intel's); of models that take more than `SHARE` of the memory they are read where they lie. Sums
have another order than the layer's own, the same one in every run.

Left out: layers that are no `nn.Linear` (GPT-2's, experts in one tensor), small ones, whose calls
cost more than their work, and weights that a hook makes anew at every call.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

BUILT: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
LEAST = 2**15  # weights of a layer that is worth a copy
ROWS = 64  # that the layout is made for; other numbers of rows are right, too
SHARE = 0.2  # of the machine's memory, that copies may take
Apply = Callable[[Tensor], Tensor]


class LinearLayers:
    """The linear layers of a model, and their weights as the engine reads them."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._held: list[tuple[dict[str, Any], Apply]] | None = None

    def forget(self) -> None:
        """Drop the copies: the weights have changed, or their memory is wanted."""
        self._held = None

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model's linear layers read the copies in this block."""
        if self._held is None:
            layers = [layer for layer in self._model.modules() if _plain(layer)]
            size = sum(layer.weight.nbytes for layer in layers)
            copied = size <= SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
            self._held = [(layer.__dict__, laid_out(layer, copied)) for layer in layers]
        held = self._held
        for own, apply in held:
            own["forward"] = apply
        try:
            yield
        finally:
            for own, _ in held:
                own.pop("forward", None)


def _plain(layer: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether a layer is x W' + b of weights that stay as they are, and worth the call."""
    if type(layer) is not nn.Linear or "forward" in layer.__dict__ or layer._forward_pre_hooks:
        return False
    weight = layer.weight
    dense = type(weight) is nn.Parameter and weight.layout is torch.strided
    fit = dense and weight.dtype is torch.float32 and weight.device.type == "cpu"
    return fit and weight.numel() >= LEAST and BUILT


@torch.no_grad()
def laid_out(layer: nn.Linear, copied: bool = True) -> Apply:
    """How to apply a layer by its present weights, `copied` into blocks or where they lie."""
    weight = layer.weight.detach()
    bias = None if layer.bias is None else layer.bias.detach()
    if copied:
        weight = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)
    run = torch.ops.mkldnn._linear_pointwise.default

    def apply(x: Tensor) -> Tensor:
        out: Tensor = run(x, weight, bias, "none", [], "")
        return out

    return apply
