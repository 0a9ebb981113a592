"""A copy of the linear layers' weights in fewer bits, for sampling on a CPU.

The rest of the model (embeddings, norms, adapters) is shared with the trained one. A row's result
never hangs on the rows beside it: activations are rounded one by one ("bfloat16"), not at all
("float16", which is widened inside the product) or by a scale of the row's own ("int8"). fbgemm's
own dynamic int8 layer has one scale for all rows, and so is not used. What this costs in log-probs
and gains in time is in docs/engines.md.

Left out: GPUs; layers that are no `nn.Linear` (Conv1D of GPT-2, experts kept in one tensor).
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from hornbeam.engine.fingerprint import Fingerprint
from hornbeam.engine.local.network import Network
from hornbeam.errors import ModelError

TRAINED = "trained"  # the trained weights themselves: nothing is packed
LIKELY = 'engine.weights = "auto" takes what this machine has'
Times = Callable[[Tensor], Tensor]  # rows [R, in] -> [R, out], float32


def fingerprint_of(network: Network, weights: str) -> Fingerprint:
    """What watches the network's weights, and with packed ones keeps the network sampling by them.

    Raises `ModelError` where the machine or the model cannot have them.
    """
    form = fastest() if weights == "auto" else weights
    if form == TRAINED or (weights == "auto" and network.like.device.type != "cpu"):
        return Fingerprint(network.model)
    if why := unfit(form, network.like.device):
        raise ModelError(f'engine.weights = "{form}" {why}: {LIKELY}')
    return PackedWeights(network, form)


def fastest() -> str:
    """The 16-bit format that this processor multiplies fastest, or `TRAINED`."""
    cpu = torch.device("cpu")
    native = any(_has(name) for name in ("avx512_bf16", "amx_bf16"))
    if native and not unfit("bfloat16", cpu):
        return "bfloat16"
    return TRAINED if unfit("float16", cpu) else "float16"


def unfit(form: str, device: torch.device) -> str:
    """Why weights cannot be packed like that here, or ""."""
    if device.type != "cpu":
        return f"is for CPUs, and the model is on {device}"
    if form == "bfloat16":
        return (
            ""
            if _ready("_is_mkldnn_bf16_supported")
            else "needs a processor with AVX-512 and a torch with oneDNN"
        )
    fbgemm = "fbgemm" in torch.backends.quantized.supported_engines and _has("avx2")
    return "" if fbgemm else "needs a processor with AVX2 and a torch with fbgemm"


def _has(instructions: str) -> bool:
    return bool(torch.cpu.get_capabilities().get(instructions))


def _ready(name: str) -> bool:
    return bool(getattr(torch.ops.mkldnn, name)())


class PackedWeights(Fingerprint):
    """A fingerprint of trained weights; what it takes is packed for the network to sample by."""

    def __init__(self, network: Network, form: str) -> None:
        self._network, self._form = network, form
        super().__init__(network.model)

    def take(self) -> None:
        """The present weights are those to compare with, and to sample by."""
        super().take()
        self._network.model = self._model  # the last copy goes before the next one is made
        self._network.model = packed(self._model, self._form)


class PackedLinear(torch.nn.Linear):
    """A linear layer that multiplies by its packed weight; `weight` stays the trained one."""

    times: Times

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out], in the type of `x`."""
        out = self.times(x.reshape(-1, x.shape[-1]))
        if self.bias is not None:
            out = out + self.bias
        return out.view(*x.shape[:-1], -1).to(x.dtype)


@torch.no_grad()
def packed(model: torch.nn.Module, form: str) -> torch.nn.Module:
    """The model with packed linear layers, in evaluation mode; it shares all other weights.

    Raises `ModelError` if it has no linear layer.
    """
    pack = PACK[form]
    shared = [*model.parameters(), *model.buffers()]
    shared += [own for m in model.modules() if (own := getattr(m, "config", None)) is not None]
    other = copy.deepcopy(model, {id(it): it for it in shared}).eval()
    found = False
    for name, module in other.named_modules():
        # adapters are small, and rounding would lose what they learnt
        if type(module) is torch.nn.Linear and ".lora_" not in name:
            module.__class__ = PackedLinear
            vars(module)["times"] = pack(module.weight)
            found = True
    if not found:
        name = type(model).__name__
        raise ModelError(f'engine.weights = "{form}": {name} has no linear layer to pack')
    return other


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
    """Weights w by a scale an output, x by one a row: y = s_x s_w sum(round(x / s_x) round(w / s_w)).

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
