"""Losses of a value head as pure functions of its outputs z; formulas and sources in docstrings."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F


def regression_loss(
    z: Tensor, target: Tensor, weight: Tensor, kind: Literal["huber", "mse"] = "huber"
) -> Tensor:
    """sum_i w_i loss(tanh(z_i), Q_i) (MASPRM, arXiv 2510.24803); all [R], weights sum to 1.

    Huber with delta 1: (v - Q)^2 / 2 within 1, |v - Q| - 1/2 beyond.
    """
    loss = F.huber_loss if kind == "huber" else F.mse_loss
    return (weight * loss(torch.tanh(z), target, reduction="none")).sum()


def outcome_loss(z: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """-sum_i w_i [r_i log sigmoid(z_i) + (1 - r_i) log(1 - sigmoid(z_i))]; all [R]."""
    each = F.binary_cross_entropy_with_logits(z, target, reduction="none")
    return (weight * each).sum()


def pair_loss(better: Tensor, worse: Tensor) -> Tensor:
    """-mean log sigmoid(z+ - z-) (Bradley-Terry; MASPRM's ranking loss); both [pairs]."""
    return -F.logsigmoid(better - worse).mean()
