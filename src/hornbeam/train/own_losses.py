"""Losses of one's own: a function in place of the ready-made objective, and terms that are added.

    def mine(ratio, plus, minus): ...         # [loss] objective = "mine.py:mine"
    def shrink(logp): ...                     # [[loss.terms]] use = "mine.py:shrink"

Both take by name what they want, tensors of one axis, and give a tensor of that axis: what each
unit or token adds, not a sum or mean (a pack is a part of a batch). Axes as in `losses`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hornbeam.arguments import described
from hornbeam.errors import ProgramError
from hornbeam.own.own_functions import OwnFunction
from hornbeam.train.leaves import Fixed, Happened
from hornbeam.train.losses import NO_MASS, Units
from hornbeam.train.pack import Pack
from hornbeam.train.train_settings import LossSettings


def own_objective(function: OwnFunction, units: Units) -> Tensor:
    """sum_u m f: f is what a unit adds by the function, m its mass. Raises `ProgramError`."""
    given = {
        "ratio": units.ratio(),
        "log_ratio": units.log_ratio,
        "logp": units.mean,
        "plus": units.plus,
        "minus": units.minus,
    }
    return (units.mass * _called(function, given, units.mean)).sum()


def own_terms(
    how: LossSettings,
    pack: Pack,
    logp: Tensor,
    entropy: Tensor,
    fixed: Fixed,
    metrics: Happened,
) -> Tensor:
    """sum_k c_k sum_t w_t f_k: c is a term's weight, w_t the weight of a token by aggregation.

    What a term is on average is told in `metrics`. Raises `ProgramError`.
    """
    weight = pack.weight[pack.segment]
    total = (pack.plus + pack.minus)[pack.segment]
    given = {
        "logp": logp,
        "old": logp.detach() if fixed.old is None else fixed.old,
        "advantage": total / weight.clamp(min=NO_MASS),
        "entropy": entropy,
    }
    if fixed.reference is not None:
        given["reference"] = fixed.reference
    loss = torch.zeros((), dtype=logp.dtype, device=logp.device)
    for term, function in zip(how.terms, how.own_terms):
        values = _called(function, given, logp)
        loss = loss + term.weight * (weight * values).sum()
        metrics[term.name] = (values.detach().sum(), len(values))
    return loss


def _called(function: OwnFunction, given: Mapping[str, Tensor], like: Tensor) -> Tensor:
    """What the function gives, if that is one number for each of those that it was given."""
    found: Any = function(**given)
    if isinstance(found, Tensor) and found.shape == like.shape:
        return found
    shape = f"shape {list(found.shape)}" if isinstance(found, Tensor) else described(found)
    raise ProgramError(
        f"{function.part.where} gave {shape}: a tensor of shape {list(like.shape)} is expected,"
        " what each adds to the loss"
    )
