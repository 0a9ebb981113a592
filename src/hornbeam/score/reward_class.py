"""A reward that is a class of one's own: made once in a process, then asked of each leaf.

    class Judge:
        def __init__(self, model: str): ...          # settings, keys beside `rule`
        def score(self, task, answer): ...           # what a function takes; or async def

    class Scorer:                                     # or as `hb.protocols.Scorer` has it
        async def score(self, tree, nodes): ...      # [n] values

`__call__` does where there is no `score`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hornbeam.arguments import described
from hornbeam.errors import ArgumentError

NODES = "nodes"


def scoring_method(found: Any) -> Callable[..., Any] | None:
    """The function that a reward is by: itself, or a class's `score`, else its `__call__`."""
    if inspect.isfunction(found):
        return found
    if inspect.isclass(found):
        for name in ("score", "__call__"):
            method = inspect.getattr_static(found, name, None)
            if inspect.isfunction(method):
                return method
    return None


def scoring_parameters(found: Any) -> list[inspect.Parameter]:
    """What that function takes of its caller."""
    method = scoring_method(found)
    assert method is not None
    taken = list(inspect.signature(method).parameters.values())
    return taken[1:] if inspect.isclass(found) else taken


class ScoringObject:
    """Makes the object of a class at its first leaf, and asks its method from then on."""

    def __init__(self, made_of: type, settings: Mapping[str, Any]) -> None:
        self._made_of, self._settings, self._method = made_of, settings, scoring_method(made_of)
        self._made: Any = None

    def __call__(self, **given: Any) -> Any:
        """What the method returns, awaitable where it is; of [n] values that of the one node."""
        assert self._method is not None
        if self._made is None:
            self._made = self._made_of(**self._settings)
        value = self._method(self._made, **given)
        if NODES not in given:
            return value
        return _first_of(value) if inspect.isawaitable(value) else _only(value)


async def _first_of(value: Any) -> Any:
    return _only(await value)


def _only(values: Any) -> Any:
    if not isinstance(values, Sequence) or isinstance(values, str) or len(values) != 1:
        raise ArgumentError(f"score of one node gave {described(values)}: a list of one is due")
    return values[0]
