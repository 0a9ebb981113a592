"""A baseline of one's own: a function of the outcomes of one group, as those of `baselines`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import PrivateAttr

from hornbeam.errors import RecipeError
from hornbeam.own.own_parts import Named, call_settings, parameters
from hornbeam.protocols import Leaf, PathMethod


class OwnBaseline(PathMethod):
    """A = f(R), R the outcomes of all scored leaves of a task in order, one advantage each."""

    name: str
    settings: dict[str, Any] = {}
    _function: Callable[..., Sequence[float]] = PrivateAttr()

    def advantages(self, groups: Sequence[Sequence[Leaf]]) -> list[list[float]]:
        """Each group by the function."""
        return [
            list(self._function([leaf.reward for leaf in group], **self.settings))
            for group in groups
        ]


def own_baseline(part: Named, settings: Mapping[str, Any]) -> OwnBaseline:
    """The function as a credit method. Raises `RecipeError` for one that takes no outcomes."""
    takes = parameters(part)
    first = takes[0] if takes else None
    if first is None or first.kind in (first.KEYWORD_ONLY, first.VAR_KEYWORD):
        raise RecipeError(f"{part.where} must take the outcomes of a group: def f(rewards)")
    made = OwnBaseline(name=part.where, settings=call_settings(part, settings, {first.name}))
    made._function = part.thing
    return made
