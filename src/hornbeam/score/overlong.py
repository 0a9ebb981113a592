"""What long and cut-off runs pay: DAPO's soft overlong punishment."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from hornbeam.settings import Settings
from hornbeam.tree.nodes import Tree


class OverlongPenalty(Settings):
    """`factor` times `overlong` is added to the reward of a run by all tokens that it sampled.

    `length` is where the penalty is whole (max_tokens, for a run of one answer), `buffer` over how
    many tokens before it grows.
    """

    length: int = Field(gt=0)
    buffer: int = Field(gt=0)
    factor: float = Field(1.0, ge=0)

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if self.buffer > self.length:
            raise ValueError(f"buffer = {self.buffer} is above length = {self.length}")
        return self


def overlong(tokens: int, length: int, buffer: int) -> float:
    """0 up to length - buffer, -1 from length on, ((length - buffer) - tokens) / buffer between.

    R_length of DAPO (arXiv 2503.14476, equation 13), with L_max = length and L_cache = buffer.
    """
    return min(0.0, max(-1.0, (length - buffer - tokens) / buffer))


def penalty(tree: Tree, i: int, how: OverlongPenalty) -> float:
    """What the run that ends at node i pays, at most 0."""
    tokens = sum(len(tree.nodes[n].tokens) for n in tree.path(i))
    return how.factor * overlong(tokens, how.length, how.buffer)
