"""What an update is told of itself, read from the device at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from hornbeam.train.train_settings import TERM, LossSettings

# What is told of tokens or units of a pack, and so of each rank's own.
PLAIN = ("kl", "entropy", "clip_fraction", "ratio_mean", "engine_gap")
WEIGHTS = ("importance_mean", "importance_outside")
TAUGHT = "teacher_gap"
OF_TOKENS = (*PLAIN, *WEIGHTS, TAUGHT)


class StepMetrics:
    """What happened in a step: sums and counts by name. Tensors wait, to be read all at once."""

    def __init__(self) -> None:
        self.waiting: list[tuple[str, float | Tensor, int | Tensor]] = []

    def add(self, more: Mapping[str, tuple[float | Tensor, int | Tensor]]) -> None:
        """Sums and counts by name."""
        self.waiting += [(name, value, count) for name, (value, count) in more.items()]

    def join(self, over_ranks: Callable[[Tensor], Tensor]) -> None:
        """Add up over ranks what each rank was told of its own packs."""
        sums = self._sums()
        of_tokens = [*OF_TOKENS, *sorted(name for name in sums if name.startswith(TERM))]
        given = [sums.get(name, (0.0, 0)) for name in of_tokens]
        joined = over_ranks(torch.tensor(given, dtype=torch.float64)).tolist()
        self.waiting = [entry for entry in self.waiting if entry[0] not in of_tokens]
        self.waiting += [
            (name, sum_, round(count)) for name, (sum_, count) in zip(of_tokens, joined)
        ]

    def means(self, *names: str) -> dict[str, float]:
        """Sum / count of each name, 0 of what nothing was told."""
        sums = self._sums()
        got = {name: sums.get(name, (0.0, 0)) for name in names}
        return {name: value / count if count else 0.0 for name, (value, count) in got.items()}

    def figures(self, how: LossSettings) -> dict[str, float]:
        """Means of a step, those of what the settings ask for alone."""
        names = ["loss", *PLAIN, "grad_norm", "lr", *(WEIGHTS if how.weights else ())]
        names += ["gated_leaves"] if how.gate and how.gate.leaves else []
        names += ["preference_margin", "preference_accuracy"] if how.prefers else []
        names += ["divergence"] if how.stops else []
        names += [TAUGHT] if how.distill else []
        names += how.term_names
        return self.means(*names)

    def _sums(self) -> dict[str, tuple[float, int]]:
        waiting = [x for _, *pair in self.waiting for x in pair if isinstance(x, Tensor)]
        read = iter(torch.stack([x.float() for x in waiting]).tolist() if waiting else ())
        sums: dict[str, tuple[float, int]] = {}
        for name, *pair in self.waiting:
            total, many = sums.get(name, (0.0, 0))
            more, count = (next(read) if isinstance(x, Tensor) else x for x in pair)
            sums[name] = (total + more, many + round(count))
        return sums
