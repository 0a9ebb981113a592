"""What a reward function returned: a number, None, or a dict of `reward` and named figures."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hornbeam.arguments import described, finite, short
from hornbeam.errors import ArgumentError

MOST = 32  # figures of one answer
PART = "reward."  # how columns of a reward's parts are named
FIGURE = "figure."  # and those of figures
_NAME = re.compile(r"[A-Za-z0-9_][\w.-]{0,59}")


@dataclass(frozen=True, slots=True)
class Judgement:
    """A reward, None where there is none, and figures that stand beside it."""

    reward: float | None
    figures: Mapping[str, float] = field(default_factory=dict)


def read_verdict(value: Any) -> Judgement:
    """What a reward function returned; true is 1, a figure of None is left out.

    Raises `ArgumentError`, one line, for what is neither a finite number, nor None, nor a dict of
    those with a key "reward".
    """
    if not isinstance(value, Mapping):
        return Judgement(finite(value))
    if "reward" not in value:
        raise ArgumentError(f"a dict needs a key 'reward', this one has {_keys(value)}")
    if len(value) - 1 > MOST:
        raise ArgumentError(f"{len(value) - 1} figures: at most {MOST} can stand beside a reward")
    figures = {}
    for name, figure in value.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            wants = "letters, digits, '_', '-' and '.'"
            raise ArgumentError(f"a figure's name is of {wants}, not {described(name)}")
        try:
            found = finite(figure)
        except ArgumentError as error:
            raise ArgumentError(f"{name}: {error}") from error
        if name != "reward" and found is not None:
            figures[name] = found
    return Judgement(finite(value["reward"]), figures)


def _keys(value: Mapping[Any, Any]) -> str:
    return short([*value]) if value else "none"
