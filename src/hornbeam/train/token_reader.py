"""A causal LM that only reads: the log-probs of given tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch

from hornbeam.errors import ModelError
from hornbeam.train import forward, weights


class TokenReader:
    """A model's log-probs of tokens that others sampled. `name` stands in messages."""

    def __init__(self, model: Any, tokenizer: Any = None, name: str = "") -> None:
        self.name = name or type(model).__name__
        if not forward.check_head(model):
            raise ModelError(
                f"{self.name}: its head is more than a linear layer: it cannot be read"
            )
        weights.without_noise(model)
        self.causal, self.tokenizer = model.eval(), tokenizer

    @classmethod
    def load(cls, folder: str | Path, device: str = "cpu") -> Self:
        """The model of a folder. Raises `ModelError` where it is none."""
        model, tokenizer = weights.load(Path(folder))
        return cls(model.to(device), tokenizer, str(folder))

    @property
    def context(self) -> int:
        """How many tokens the model can read."""
        config = self.causal.config.get_text_config()
        return int(getattr(config, "max_position_embeddings", None) or 2**31 - 1)

    @property
    def vocabulary(self) -> int:
        """How many token ids the model knows."""
        return int(self.causal.config.get_text_config().vocab_size)

    def log_probs(self, ids: Sequence[int], temperature: float = 1.0) -> list[float]:
        """Log pi of every token but the first after those before it, [n - 1], in nats."""
        device = self.causal.get_input_embeddings().weight.device
        row = torch.tensor([*ids], device=device)
        found: list[float] = forward.row_log_probs(self.causal, row, temperature).tolist()
        return found
