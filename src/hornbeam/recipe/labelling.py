"""Strategies that label steps: all of search, and the forks of a blame."""

from __future__ import annotations

from typing import Any

from hornbeam.blame import BlameForks
from hornbeam.own.own_classes import build_part
from hornbeam.own.own_parts import Base
from hornbeam.search import Rollouts, Strategy, strategies

FAILED = 0.5  # a run of a lower reward failed
LABELLING: dict[str, type[Strategy]] = {**strategies, "blame": BlameForks}


def labelling(name: str, base: Base = "", /, **settings: Any) -> Strategy:
    """The strategy of that name with these settings. Raises `RecipeError`."""
    if name == "blame":
        settings = {"below": FAILED, **settings}
    return build_part("strategy", LABELLING, (Strategy,), name, settings, base)


def trunks_of(how: Strategy) -> int | None:
    """How many recorded runs of a tree a strategy labels; None: it labels none."""
    if isinstance(how, BlameForks):
        return how.runs
    return how.trunks if isinstance(how, Rollouts) else None
