"""How many tokens a model takes and how many words it knows, under the names of its family."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from hornbeam.errors import ModelError

UNBOUNDED = 2**31 - 1
LENGTHS = ("max_position_embeddings", "max_target_positions", "n_positions", "n_ctx")


def vocabulary_of(model: Any) -> int:
    """Words that the model's logits tell of."""
    config = model.config.get_text_config(decoder=True)
    size = getattr(config, "vocab_size", None)
    if not isinstance(size, int):
        name = type(model).__name__
        raise ModelError(f"{name} cannot run in the local engine: it is no plain causal LM")
    return size


def context_of(model: Any) -> tuple[int, int]:
    """Tokens that a sequence may have, and the length after which all its places are seen anew.

    Some rotary embeddings pick their frequencies by the longest row of a forward pass. Those of
    longrope have two sets, for sequences up to the second figure (0: there is none) and for longer
    ones; dynamic ones have a set for each length: a sequence ends where they begin.
    """
    config = model.config.get_text_config(decoder=True)
    lengths = [getattr(config, name, None) for name in LENGTHS]
    context: int = next((n for n in lengths if isinstance(n, int) and n > 0), UNBOUNDED)
    turn = 0
    for rope in _ropes(getattr(config, "rope_parameters", None) or {}):
        made = int(rope.get("original_max_position_embeddings") or context)
        if rope.get("rope_type") == "dynamic":
            context = min(context, made)
        elif rope.get("rope_type") == "longrope" and made < context:
            turn = made
    for name, module in model.named_modules():
        padding = getattr(module, "padding_idx", None)
        places = name.endswith("position_embeddings") and isinstance(module, nn.Embedding)
        if places and padding is not None:  # counted from behind the padding's
            context = min(context, module.num_embeddings - padding - 1)
    return context, turn if turn < context else 0


def _ropes(rope: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The settings of rotary embeddings, of all layers or of each kind."""
    if "rope_type" in rope:
        yield rope
    else:
        yield from (part for part in rope.values() if isinstance(part, dict))
