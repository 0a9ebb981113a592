"""Rotary embeddings whose frequencies hang on how long the sequence is.

transformers picks them once for a whole forward pass, from its longest position:

- `longrope` (Phi-3 128k, Phi-4-mini, PhiMoE, MiniCPM3): one set of factors up to
  `original_max_position_embeddings` positions, another beyond, for all positions of the pass;
- `dynamic` (NTK): beyond `max_position_embeddings` every length has frequencies of its own.

So rows of both sides of a longrope's threshold may share no pass, and rows past the length of a
dynamic rope are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hornbeam.errors import DataError
from hornbeam.train.rows import Rows


@dataclass(frozen=True, slots=True)
class Lengths:
    """`turn`: longest row with the short factors; `limit`: longest row that can be run."""

    turn: int | None = None
    limit: int | None = None

    def check(self, longest: int, name: str) -> None:
        """Raise `DataError` for a row of so many tokens that the model would compute otherwise."""
        if self.limit is not None and longest > self.limit:
            raise DataError(
                f"{name}: a row of {longest} tokens is longer than the {self.limit} up to which its"
                " dynamic rope has fixed frequencies: set max_tokens or the program's turns lower,"
                ' or give the model another rope_type, such as "yarn"'
            )

    def measured(self, rows: Rows, name: str) -> Rows:
        """The rows, which then know the turn. Raises as `check` does."""
        self.check(max((len(row.ids) for row in rows.rows), default=0), name)
        rows.turn = self.turn
        return rows


def lengths(model: Any) -> Lengths:
    """What the model's rotary embeddings say."""
    turns, limits = [], []
    for kind, settings, module in _ropes(model):
        if kind == "longrope":
            turns.append(int(settings["original_max_position_embeddings"]))
        elif "dynamic" in kind:
            limits.append(int(module.original_max_seq_len))
    return Lengths(min(turns, default=None), min(limits, default=None))


def _ropes(model: Any) -> Iterator[tuple[str, dict[str, Any], Any]]:
    """(type, settings, module) of every rotary embedding, one for each kind of layer it serves."""
    for module in model.modules():
        kind = getattr(module, "rope_type", None)
        config = getattr(module, "config", None)
        settings = getattr(config, "rope_parameters", None) or {}
        if isinstance(kind, str):
            yield kind, settings, module
        elif isinstance(kind, dict):
            for layer, own in kind.items():
                yield own, settings.get(layer, {}), module
