"""Whether a model's weights are still those that something kept was computed with.

Keys, values, states and logits that are kept of a prefix are worth nothing with other weights, and
nobody who trains a model has to know who samples from it. Seen are:

- what torch counts: writes in place by optimisers (one by one, foreach, fused), `load_state_dict`;
- tensors that are others, or lie elsewhere: `assign=True`, `.data = ...`, `.to(...)`, new adapters;
- writes that torch does not count (`.data.add_(...)`, merged adapters, kernels of their own,
  inference tensors), by some entries of every tensor;
- adapters switched on, off or over, or scaled.

Left out: writes past torch that miss every entry looked at; a forward that is another function.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

ENTRIES = 16  # of a tensor that are compared, about
SWITCHES = (
    "_active_adapter",
    "_disable_adapters",
    "merged_adapters",
    "scaling",
)  # of peft's layers


class Fingerprint:
    """What tells the weights of a model apart from those it had when `take` was last called."""

    def __init__(self, model: torch.nn.Module) -> None:
        self._model = model
        self.take()

    def take(self) -> None:
        """The present weights are those to compare with from now on."""
        self._tensors, self._adapters = list(_tensors(self._model)), _adapters(self._model)
        self._marks = [_mark(tensor) for tensor in self._tensors]
        self._entries = _entries(self._tensors)

    def touched(self) -> bool:
        """Whether a tensor was written to or moved, as far as torch counts it; microseconds."""
        return any(_mark(tensor) != mark for tensor, mark in zip(self._tensors, self._marks))

    def settle(self) -> bool:
        """The same after a forward: what it wrote itself (RWKV rescales its weights) is no news.

        Whether there was anything of that kind.
        """
        written = self.touched()
        if written:
            self.take()
        return written

    def differs(self) -> bool:
        """Whether the weights are others, by all that the head of this file names."""
        if self.touched() or self._adapters != _adapters(self._model):
            return True
        now = list(_tensors(self._model))
        if len(now) != len(self._tensors) or any(a is not b for a, b in zip(now, self._tensors)):
            return True
        entries = _entries(now)
        return any(not torch.equal(entries[kind], held) for kind, held in self._entries.items())


def _tensors(model: torch.nn.Module) -> Iterator[Tensor]:
    """Parameters and the buffers that are saved with them (others a forward may write), each once.

    What is moved in for its forward only (an offloaded tensor) is passed over.
    """
    known = set()
    for module in model.modules():
        passing = module._non_persistent_buffers_set
        own: list[Tensor | None] = [*module._parameters.values()]
        own += [held for name, held in module._buffers.items() if name not in passing]
        for tensor in own:
            if tensor is not None and tensor.device.type != "meta" and id(tensor) not in known:
                known.add(id(tensor))
                yield tensor


def marks(named: Iterable[tuple[str, Any]]) -> list[tuple[Any, ...]]:
    """Names, addresses and counts of writes of tensors: the same while nothing writes to them."""
    return [(name, *_mark(tensor)) for name, tensor in named]


def _mark(tensor: Tensor) -> tuple[int, int]:
    """(address, count of writes); inference tensors count none."""
    return tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version


@torch.no_grad()
def _entries(tensors: list[Tensor]) -> dict[Any, Tensor]:
    """Some bytes of every tensor, those of one type and device together."""
    parts: dict[Any, list[Tensor]] = {}
    for tensor in tensors:
        parts.setdefault((tensor.dtype, tensor.device), []).append(_some(tensor.detach()))
    return {kind: torch.cat(some).view(torch.uint8) for kind, some in parts.items()}


def _some(tensor: Tensor) -> Tensor:
    """Entries [n] spread over a tensor: odd steps, so as not to stay in one column."""
    if tensor.is_contiguous():
        return tensor.view(-1)[:: max(1, tensor.numel() // ENTRIES) | 1]
    return tensor[tuple(slice(None, None, max(1, n // 8) | 1) for n in tensor.shape)].reshape(-1)


def _adapters(model: torch.nn.Module) -> list[str]:
    """How layers of adapters (peft) are set: which speak, are merged, how much they weigh."""
    own = (module.__dict__ for module in model.modules())
    return [repr([d.get(name) for name in SWITCHES]) for d in own if SWITCHES[0] in d]
