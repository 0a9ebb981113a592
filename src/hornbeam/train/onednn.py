"""Linear layers of float32 on a CPU, forward and backward by oneDNN.

Its products take the widest vectors of any maker's processor; MKL, torch's own way, takes AVX2
where AVX-512 is not Intel's: half the rate, forward and backward. Weights are read where they lie,
so an update needs no copy made anew. Sums have another order than the layer's own, the same one in
every run.

Left out: layers that are no `nn.Linear`, sharded ones, those that a hook runs for, and small ones,
whose calls cost more than their work.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

BUILT: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
LEAST = 2**15  # weights of a layer that is worth the call


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The layer x W' + b of x [..., in], W [out, in], b [out]: [..., out]."""
    out: Tensor = torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, "none", [], "")
    return out


class Linear(torch.autograd.Function):
    """`product` with its gradients, which are products too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The layer of x [..., in], W [out, in], b [out]: [..., out]."""
        ctx.save_for_backward(x, weight)
        return product(x, weight, bias)

    @staticmethod
    def backward(  # type: ignore[override]
        ctx: Any, grad: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """The gradient [..., out] of the result -> those of x, W and b, where they are wanted."""
        x, weight = ctx.saved_tensors
        rows = grad.reshape(-1, grad.shape[-1])
        of_x, of_weight, of_bias = ctx.needs_input_grad
        return (
            product(grad, weight.t()) if of_x else None,
            product(rows.t(), x.reshape(-1, x.shape[-1]).t()) if of_weight else None,
            rows.sum(0) if of_bias else None,
        )


@contextmanager
def linear_layers(model: nn.Module) -> Iterator[None]:
    """In this block the model's linear layers are applied so, where they can be."""
    held = [layer.__dict__ for layer in model.modules() if fits(layer)]
    for layer in held:
        layer["forward"] = _apply(layer["_parameters"])
    try:
        yield
    finally:
        for layer in held:
            layer.pop("forward", None)


def fits(layer: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether a layer of float32 can be applied by oneDNN, and is worth the call."""
    return BUILT and dense(layer) and layer.weight.dtype is torch.float32


def dense(layer: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether a layer is x W' + b of plain weights on a CPU, and worth the call."""
    if type(layer) is not nn.Linear or "forward" in layer.__dict__ or layer._forward_pre_hooks:
        return False
    weight = layer.weight
    plain = type(weight) is nn.Parameter and weight.layout is torch.strided
    there = plain and weight.dtype.is_floating_point and weight.device.type == "cpu"
    return there and weight.numel() >= LEAST


def _apply(parameters: Any) -> Any:
    def apply(x: Tensor) -> Tensor:
        weight, bias = parameters["weight"], parameters["bias"]
        if x.dtype is not torch.float32 or torch.is_autocast_enabled("cpu") or not x.numel():
            return nn.functional.linear(x, weight, bias)
        out: Tensor = Linear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
        return out

    return apply
