"""What a public function was given, told in one line where it takes something else."""

from __future__ import annotations

import inspect
import math
import reprlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from hornbeam.errors import ArgumentError

T = TypeVar("T")
LONGEST = 60  # characters of a value that a message shows
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = LONGEST


def described(value: Any) -> str:
    """What a value is, for a message: 'None', 'the text "gpt-4"', 'a dict', 'the class Branch'."""
    if value is None or isinstance(value, (bool, int, float)):
        return repr(value)
    if isinstance(value, str):
        return f"the text {short(value)}"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if inspect.isroutine(value):
        return f"the function {getattr(value, '__name__', '?')}"
    name = type(value).__name__
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


def short(value: Any) -> str:
    """The value's `repr`, at most `LONGEST` characters of one line."""
    text = " ".join(_REPR.repr(value).split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def wrong(where: str, wants: str, value: Any) -> ArgumentError:
    """The error: where, what is wanted there, what was given instead."""
    return ArgumentError(f"{where} takes {wants}, not {described(value)}")


def one_of(value: Any, kind: type | tuple[type, ...], where: str, wants: str) -> Any:
    """The value, if it is of this kind; true and false are no numbers."""
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise wrong(where, wants, value)
    return value


def list_of(values: Any, kind: type[T], where: str, wants: str, again: bool = False) -> list[T]:
    """The values as a list, if each is of this kind.

    With `again` they are written to, and what only passes them once would lose them.
    """
    if isinstance(values, kind):
        raise wrong(where, f"a list of {wants}", values).hint("put it in a list: [it]")
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise wrong(where, f"a list of {wants}", values)
    if again and not hasattr(values, "__len__"):
        error = wrong(where, f"a list of {wants}", values)
        raise error.hint("what it writes would be lost: make a list of it first")
    found = list(values)
    for i, value in enumerate(found):
        if not isinstance(value, kind):
            raise wrong(where, f"a list of {wants}", value).hint(f"it is number {i} of the list")
    return found


def mapping(values: Any, where: str, wants: str) -> Mapping[Any, Any]:
    """The values by name, if they are that."""
    if not isinstance(values, Mapping):
        raise wrong(where, wants, values)
    for name in values:
        if not isinstance(name, str):
            raise wrong(where, f"{wants}; its keys are names", name)
    return values


def function(value: Any, count: int, where: str, wants: str) -> Callable[..., Any]:
    """A function that can be called with so many arguments, as far as it tells; not a class."""
    if not callable(value) or isinstance(value, type):
        raise wrong(where, wants, value)
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):  # written in C: it tells none
        return value  # type: ignore[no-any-return]
    try:
        signature.bind(*range(count))
    except TypeError as error:
        raise wrong(where, wants, value).hint(f"{error} when called with {count}") from error
    return value  # type: ignore[no-any-return]


def is_async(value: Any) -> bool:
    """Whether calling it gives a coroutine, as far as can be seen."""
    call = getattr(value, "__call__", None)  # noqa: B004
    return inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(call)


def finite(value: Any) -> float | None:
    """A reward: true is 1, NumPy's and torch's numbers are numbers. Raises `ArgumentError`."""
    number = value is None or (hasattr(value, "__float__") and not isinstance(value, str))
    reward = None if value is None or not number else float(value)
    if not number or (reward is not None and not math.isfinite(reward)):
        raise ArgumentError(f"give a finite number or None, not {described(value)}")
    return reward
