"""Weights of linear layers in fewer bits, for sampling on a CPU: x -> x W' by a packed W.

A row's result never depends on the rows beside it: activations are rounded one by one ("bfloat16"),
not at all ("float16", which is widened inside the product) or by a scale of the row's own ("int8").
fbgemm's own dynamic int8 layer has one scale for all rows, and so is not used. What this costs in
log-probs and gains in time is in docs/engines.md.

Left out: GPUs.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from hornbeam.errors import ModelError

TRAINED = "trained"  # the trained weights themselves: nothing is packed
Times = Callable[[Tensor], Tensor]  # rows [R, in] -> [R, out], float32


def format_of(weights: str, device: torch.device) -> str:
    """The format that `engine.weights` stands for on a device; `ModelError` if it is unfit."""
    if weights == "auto":
        return TRAINED if device.type != "cpu" else fastest()
    if weights != TRAINED and (why := unfit(weights, device)):
        raise ModelError(
            f'engine.weights = "{weights}" {why}: engine.weights = "auto" takes what there is'
        )
    return weights


def fastest() -> str:
    """The format that is near the trained weights and faster than they: bfloat16, or `TRAINED`.

    Where the processor has no instructions for it, it is slower; float16 takes longer to pack than
    it gains at more than a few rows.
    """
    native = any(_has(name) for name in ("avx512_bf16", "amx_bf16"))
    return "bfloat16" if native and not unfit("bfloat16", torch.device("cpu")) else TRAINED


def unfit(form: str, device: torch.device) -> str:
    """Why weights cannot be packed like that here, or ""."""
    if device.type != "cpu":
        return f"is for CPUs, and the model is on {device}"
    if form == "bfloat16":
        wants = "needs a processor with AVX-512 and a torch with oneDNN"
        return "" if _ready("_is_mkldnn_bf16_supported") else wants
    fbgemm = "fbgemm" in torch.backends.quantized.supported_engines and _has("avx2")
    return "" if fbgemm else "needs a processor with AVX2 and a recent torch with fbgemm"


def _has(instructions: str) -> bool:
    told: Any = getattr(torch.cpu, "get_capabilities", dict)  # of a torch that is recent enough
    return bool(told().get(instructions))


def _ready(name: str) -> bool:
    return bool(getattr(torch.ops.mkldnn, name)())


def _bfloat16(weight: Tensor) -> Times:
    """Both sides in 8 bits of fraction, summed in float32, by oneDNN."""
    ops = torch.ops.mkldnn
    kept = ops._reorder_linear_weight(weight.to(torch.bfloat16), None)

    def times(rows: Tensor) -> Tensor:
        found: Tensor = ops._linear_pointwise(rows.bfloat16(), kept, None, "none", [], "")
        return found.float()

    return times


def _float16(weight: Tensor) -> Times:
    """The weight in 11 bits of fraction, the product in float32, by fbgemm."""
    damaged = ~weight.isfinite().all(1)
    with _fbgemm() as ops:
        kept = ops.linear_prepack_fp16(weight.float(), None)

    def times(rows: Tensor) -> Tensor:
        found: Tensor = ops.linear_dynamic_fp16(rows.float(), kept)
        return found.masked_fill_(damaged, torch.nan) if lost else found

    lost = bool(damaged.any())  # which fbgemm would pack as its largest number
    return times


def _int8(weight: Tensor) -> Times:
    """Both in 8 bits: y = s_x s_w sum(round(x / s_x) round(w / s_w)), s_x a row's, s_w an output's.

    Sums are of integers, and so exact. Without VNNI products of two are added in 16 bits, and
    activations have 7 bits, so that none overflows.
    """
    wide = _has("avx512_vnni") or _has("avx_vnni")
    steps = 127 if wide else 63
    scale = weight.float().abs().amax(1).clamp_min(torch.finfo(torch.float32).tiny) / 127
    whole = (weight.float() / scale[:, None]).round_().to(torch.int8)
    with _fbgemm() as ops:
        zeros = torch.zeros(len(scale), dtype=torch.long)
        known = torch._make_per_channel_quantized_tensor(whole, scale.double(), zeros, 0)
        kept = ops.linear_prepack(known, None)

    def times(rows: Tensor) -> Tensor:
        rows = rows.float()
        own = rows.abs().amax(1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
        multiply = ops.linear_with_input_q_dq_qweight_dq_output_fp32
        found: Tensor = multiply(rows / own, 1 / steps, steps + 1, kept)
        return found.mul_(own)

    return times


PACK: dict[str, Callable[[Tensor], Times]] = {
    "bfloat16": _bfloat16,
    "float16": _float16,
    "int8": _int8,
}


@contextmanager
def _fbgemm() -> Iterator[Any]:
    """Weights are packed for fbgemm in this block; torch's default engine is slower."""
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = "fbgemm"
    try:
        with warnings.catch_warnings():  # that tensors of quantised types will go some day
            warnings.simplefilter("ignore", UserWarning)
            yield torch.ops.quantized
    finally:
        torch.backends.quantized.engine = before
