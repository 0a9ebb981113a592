"""What an update is told of itself, read from the device at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor


class Told:
    """What happened in a step: sums and counts by name. Tensors wait, to be read all at once."""

    def __init__(self) -> None:
        self.told: list[tuple[str, float | Tensor, int]] = []

    def add(self, more: Mapping[str, tuple[float | Tensor, int]]) -> None:
        """Sums and counts by name."""
        self.told += [(name, value, count) for name, (value, count) in more.items()]

    def join(self, over_ranks: Callable[[Tensor], Tensor]) -> None:
        """Add up over ranks what each rank was told of its own packs."""
        names = ("kl", "entropy", "clip_fraction", "ratio_mean")
        sums = self._sums()
        given = [sums.get(name, (0.0, 0)) for name in names]
        joined = over_ranks(torch.tensor(given, dtype=torch.float64)).tolist()
        self.told = [told for told in self.told if told[0] not in names]
        self.told += [(name, value, round(count)) for name, (value, count) in zip(names, joined)]

    def means(self, *names: str) -> dict[str, float]:
        """Sum / count of each name, 0 of what nothing was told."""
        sums = self._sums()
        got = {name: sums.get(name, (0.0, 0)) for name in names}
        return {name: value / count if count else 0.0 for name, (value, count) in got.items()}

    def _sums(self) -> dict[str, tuple[float, int]]:
        waiting = [value for _, value, _ in self.told if isinstance(value, Tensor)]
        read = iter(torch.stack(waiting).tolist() if waiting else ())
        sums: dict[str, tuple[float, int]] = {}
        for name, value, count in self.told:
            total, many = sums.get(name, (0.0, 0))
            more = next(read) if isinstance(value, Tensor) else value
            sums[name] = (total + more, many + count)
        return sums
