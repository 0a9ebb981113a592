"""AdamW with a linear warm-up, clipped gradients, and updates that are skipped where not finite."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.distributed.tensor import DTensor

Parameters = Sequence[torch.nn.Parameter]


class Optimiser:
    """Applies gradients that were added up on the parameters. Counts `updates` and `skipped`."""

    def __init__(
        self,
        parameters: Parameters,
        *,
        lr: float,
        warmup_steps: int,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        max_grad_norm: float = 1.0,
    ) -> None:
        self.parameters = parameters
        self.lr, self.warmup_steps, self.max_grad_norm = lr, warmup_steps, max_grad_norm
        self.adam = torch.optim.AdamW(
            parameters, lr=lr, betas=betas, weight_decay=weight_decay, fused=True
        )
        self.updates = 0
        self.skipped = 0

    def zero(self) -> None:
        """Forget the gradients."""
        self.adam.zero_grad(set_to_none=True)

    def rate(self) -> float:
        """Lr min(1, (updates + 1) / warmup_steps): the learning rate of the next update."""
        return self.lr * min(1.0, (self.updates + 1) / max(self.warmup_steps, 1))

    def apply(self, loss: float) -> float:
        """Clip and apply the gradients of this loss; returns their norm before the clip.

        Where the loss or the norm is not finite nothing is changed and `skipped` goes up.
        """
        grads = [p.grad for p in self.parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(grads)
        if isinstance(norm, DTensor):
            norm = norm.full_tensor()
        size = float(norm)
        if math.isfinite(loss) and math.isfinite(size):
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self.max_grad_norm, norm)
            for group in self.adam.param_groups:
                group["lr"] = self.rate()
            self.adam.step()
            self.updates += 1
        else:
            self.skipped += 1
        self.zero()
        return size

    def state_dict(self) -> dict[str, Any]:
        """All that the next update depends on."""
        return {"adam": self.adam.state_dict(), "updates": self.updates, "skipped": self.skipped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        self.adam.load_state_dict(state["adam"])
        self.updates, self.skipped = state["updates"], state["skipped"]
