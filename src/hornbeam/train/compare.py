"""The first real step, once more: two of its rows alone against what the step computed for them.

What is tried at load is short; windows, chunks, thresholds and whatever else a family does at some
length show in real rows. So the longest and the shortest trained row of the first update's deepest
pack run plainly, each alone, and every trained token of theirs has to agree. It costs the forward
pass of two rows, once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hornbeam.errors import ModelError
from hornbeam.train import forward
from hornbeam.train.pack import Pack
from hornbeam.train.rows import Rows
from hornbeam.train.settings import OptimSettings

FLOAT32 = 1e-3  # nats that a token may differ by
BFLOAT16 = 0.15  # nats that a row may differ by on average: a right one comes to some 0.04


@dataclass(frozen=True, slots=True)
class PlainRows:
    """Log-probs of two rows of a pack, each computed alone: (source place, token) -> nats."""

    pack: int  # which of the update's
    told: dict[tuple[int, int], float]

    def apart(self, pack: Pack, logp: Tensor) -> list[float]:
        """How far the step's log-probs [T] of the pack are from them, token by token."""
        places, tokens = pack.sources[pack.slot].tolist(), pack.token.tolist()
        found = zip(zip(places, tokens), logp.tolist())
        return [abs(value - self.told[key]) for key, value in found if key in self.told]


def plain_rows(model: Any, packs: Sequence[Pack], temperature: float = 1.0) -> PlainRows:
    """Run two rows of the deepest pack alone, by the model's own forward in float32."""
    number = max(range(len(packs)), key=lambda n: int(packs[n].position.max()))
    pack = packs[number]
    told: dict[tuple[int, int], float] = {}
    for path in _rows(pack):
        ids = pack.ids.flatten()[path].tolist()
        values = forward.score(model, ids[:1], ids[1:], temperature)
        told.update(zip(zip(path.tolist(), ids[1:]), values))
    return PlainRows(number, told)


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
        apart, self._rows = self._rows.apart(pack, logp), None
        mean = sum(apart) / max(1, len(apart))
        worst = mean if self.optim.bf16 else max(apart, default=0.0)
        if not worst <= (BFLOAT16 if self.optim.bf16 else FLOAT32):
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
        longest = pack.ids.shape[1]
        rows = {int(k) // longest for k in pack.sources}
        sizes = {k: int(pack.real[k].sum()) for k in rows}
        paths = {k: torch.arange(k * longest, k * longest + size) for k, size in sizes.items()}
    else:
        own = torch.arange(len(pack.end), device=pack.end.device)
        leaves = own[pack.end == own + 1]
        sizes = {k: int(pack.position[0, k]) + 1 for k in leaves.tolist()}
        trains = torch.zeros_like(own, dtype=torch.bool)
        trains[pack.sources] = True
        paths = {k: (above := own[: k + 1])[pack.end[above] > k].cpu() for k in sizes}
        paths = {k: path for k, path in paths.items() if trains.cpu()[path].any()}
    ends = sorted((k for k in paths if sizes[k] > 1), key=lambda k: sizes[k])
    return [paths[k] for k in dict.fromkeys([*ends[-1:], *ends[:1]])]
