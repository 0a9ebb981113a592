"""A baseline of one's own: a function of the outcomes of one group, as those of `baselines`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import PrivateAttr

from hornbeam.own.own_functions import OwnFunction, own_function
from hornbeam.own.own_parts import Named
from hornbeam.protocols import Leaf, PathMethod


class OwnBaseline(PathMethod):
    """A = f(R), R the outcomes of all scored leaves of a task in order, one advantage each."""

    name: str
    settings: dict[str, Any] = {}
    _function: OwnFunction = PrivateAttr()

    def advantages(self, groups: Sequence[Sequence[Leaf]]) -> list[list[float]]:
        """Each group by the function."""
        return [self._function([leaf.reward for leaf in group]) for group in groups]


def own_baseline(part: Named, settings: Mapping[str, Any]) -> OwnBaseline:
    """The function as a credit method. Raises `RecipeError` for one that takes no outcomes."""
    function = own_function(part, settings, ["rewards"])
    made = OwnBaseline(name=part.where, settings=dict(function.settings))
    made._function = function
    return made
