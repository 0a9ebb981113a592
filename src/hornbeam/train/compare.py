"""The first real step, once more: two of its rows alone against what the step computed for them.

What is tried at load is short; windows, chunks, thresholds and whatever else a family does at some
length show in real rows. So the longest and the shortest trained row of the first update's deepest
pack run plainly, each alone, and every trained token of theirs has to agree. It costs the forward
pass of two rows, once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hornbeam.errors import ModelError
from hornbeam.train import forward
from hornbeam.train.pack import Pack
from hornbeam.train.rows import Rows
from hornbeam.train.train_settings import OptimSettings

FLOAT32 = 1e-3  # nats that a token may differ by
BFLOAT16 = 0.15  # nats that a row may differ by on average: a right one comes to some 0.04


@dataclass(frozen=True, slots=True)
class PlainRows:
    """Log-probs of two rows of a pack, each computed alone: (source place, token) -> nats."""

    pack: int  # which of the update's
    logprobs: dict[tuple[int, int], float]

    def distances(self, pack: Pack, logp: Tensor) -> list[float]:
        """How far the step's log-probs [T] of the pack are from them, token by token."""
        places, tokens = pack.sources[pack.slot].tolist(), pack.token.tolist()
        found = zip(zip(places, tokens), logp.tolist())
        return [
            _distance(value, self.logprobs[key]) for key, value in found if key in self.logprobs
        ]


def _distance(a: float, b: float) -> float:
    """In nats: 0 where neither is finite (such an update is skipped), infinite where one is not."""
    if math.isfinite(a) and math.isfinite(b):
        return abs(a - b)
    return math.inf if math.isfinite(a) or math.isfinite(b) else 0.0


def plain_rows(model: Any, packs: Sequence[Pack], temperature: float = 1.0) -> PlainRows:
    """Run two rows of the deepest pack alone, in float32."""
    number = max(range(len(packs)), key=lambda n: int(packs[n].position.max()))
    pack = packs[number]
    ids = pack.ids.flatten()
    logprobs: dict[tuple[int, int], float] = {}
    for path in _rows(pack):
        row = ids[path.to(ids.device)]
        values = forward.row_log_probs(model, row, temperature).tolist()
        logprobs.update(zip(zip(path.tolist(), row[1:].tolist()), values))
    return PlainRows(number, logprobs)


class FirstStep:
    """Compares the first update of a policy's life; does nothing once that was done."""

    def __init__(self, model: Any, name: str, optim: OptimSettings, temperature: float) -> None:
        self.model, self.name, self.optim, self.temperature = model, name, optim, temperature
        self.done = False
        self._rows: PlainRows | None = None

    def prepare(
        self,
        parts: Sequence[Rows],
        pack: Callable[[Rows], list[Pack]],
        temperature: float | None = None,
    ) -> None:
        """Compute two rows of the first update, while the model attends as by itself."""
        some = next((rows for rows in parts if rows.rows), None)
        if self.done or some is None:
            return
        self.done = True
        how = self.temperature if temperature is None else temperature
        self._rows = plain_rows(self.model, pack(some), how)

    def check(self, number: int, pack: Pack, logp: Tensor) -> None:
        """Raise `ModelError` where the update's log-probs [T] of this pack are others."""
        if self._rows is None or number != self._rows.pack:
            return
        distances, self._rows = self._rows.distances(pack, logp), None
        mean = sum(distances) / max(1, len(distances))
        worst = mean if self.optim.bf16 else max(distances, default=0.0)
        if not worst <= (BFLOAT16 if self.optim.bf16 else FLOAT32):
            self.done = False  # whoever goes on all the same is told again
            how = "packed" if self.optim.packed else "one row a leaf"
            remedy = "set optim.packed = false" if self.optim.packed else "use another model"
            raise ModelError(
                f"{self.name}: trained {how} it gives other log-probs than its rows do alone"
                f" ({worst:.2g} nats): {remedy}"
            )


def _rows(pack: Pack) -> list[Tensor]:
    """The places of the longest and of the shortest row that trains, of two tokens at least."""
    if pack.end is None:
        assert pack.real is not None
        longest, sizes = pack.ids.shape[1], pack.real.sum(1).tolist()
        rows = {k // longest for k in pack.sources.tolist()}
        ends = sorted((k for k in rows if sizes[k] > 1), key=sizes.__getitem__)
        return [torch.arange(sizes[k]) + k * longest for k in dict.fromkeys(ends[-1:] + ends[:1])]
    end, depth = pack.end.cpu(), pack.position[0].cpu()
    own, trains = torch.arange(len(end)), torch.zeros(len(end), dtype=torch.bool)
    trains[pack.sources.cpu()] = True
    leaves = own[(end == own + 1) & (depth > 0)]
    leaves = leaves[depth[leaves].argsort(stable=True)]
    found: dict[int, Tensor] = {}
    for order in (leaves.flip(0), leaves):
        for leaf in order.tolist():
            path = own[: leaf + 1][end[: leaf + 1] > leaf]
            if trains[path].any():
                found[leaf] = path
                break
    return list(found.values())
