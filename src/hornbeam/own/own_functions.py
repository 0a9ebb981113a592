"""Functions of one's own: their settings are keyword parameters, checked by the signature.

What calls one fills its first parameters, or those that it takes by name.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from hornbeam.arguments import described
from hornbeam.errors import RecipeError, UnknownSetting
from hornbeam.own.own_code import load_module
from hornbeam.own.own_parts import Named
from hornbeam.settings import expectation, nearest


@dataclass(frozen=True, slots=True)
class OwnFunction:
    """A function with its settings; it goes to other processes by its file and name."""

    part: Named
    settings: Mapping[str, Any]
    takes: tuple[str, ...] = ()  # of what its caller has by name

    def __call__(self, *values: Any, **by_name: Any) -> Any:
        """What the function gives for these values, and those of the others that it takes."""
        taken = {name: value for name, value in by_name.items() if name in self.takes}
        return self.part.thing(*values, **taken, **self.settings)

    def __reduce__(self) -> tuple[Any, ...]:
        """By the place of a file's function."""
        part, rest = self.part, (dict(self.settings), self.takes)
        where = part.origin or part.thing
        return _function, (where, part.where, *rest)


def _function(
    where: Any, shown: str, settings: Mapping[str, Any], takes: tuple[str, ...]
) -> OwnFunction:
    if not isinstance(where, tuple):
        return OwnFunction(Named(where, shown), settings, takes)
    thing = getattr(load_module(Path(where[0])), where[1])
    return OwnFunction(Named(thing, shown, where), settings, takes)


def own_function(
    part: Named, settings: Mapping[str, Any], first: Sequence[str], by_name: Sequence[str] = ()
) -> OwnFunction:
    """The function that a part is, called with `first`, and with those `by_name` that it takes.

    Raises `RecipeError` where it takes too few, or its settings are others.
    """
    takes = parameters(part)
    places = [p.name for p in takes if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(places) < len(first) and not any(p.kind is p.VAR_POSITIONAL for p in takes):
        shown = f"def {getattr(part.thing, '__name__', 'f')}({', '.join(first)})"
        raise RecipeError(f"{part.where} must take {' and '.join(first)}: {shown}")
    names = {p.name for p in takes if p.kind is not p.POSITIONAL_ONLY}
    filled = places[: len(first)]
    given = tuple(name for name in by_name if name in names and name not in filled)
    if by_name:
        _check_given(part, takes, {*filled, *given, *settings}, by_name)
    own = call_settings(part, settings, {*filled, *given})
    return OwnFunction(part, own, given)


def _check_given(
    part: Named, takes: Sequence[inspect.Parameter], filled: Collection[str], by_name: Sequence[str]
) -> None:
    """Raise `RecipeError` for a parameter that nobody fills: a misspelt one, or a setting."""
    for each in takes:
        variable = each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        if not variable and each.default is each.empty and each.name not in filled:
            raise RecipeError(
                f"{part.where} takes {each.name!r}, which it is not given:"
                f" {nearest(each.name, by_name)}; a setting of its own has a value in the recipe,"
                " or a default"
            )


def call_settings(
    part: Named, values: Mapping[str, Any], given: Collection[str] = ()
) -> dict[str, Any]:
    """Settings of a function or class by its signature, each as its annotation has it.

    `given` are the parameters that whoever calls it fills. Raises `RecipeError`.
    """
    own = {p.name: p for p in parameters(part) if p.name not in given}
    takes = {n: p for n, p in own.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    anything = any(p.kind is p.VAR_KEYWORD for p in own.values())
    strange = [key for key in values if key not in takes]
    if strange and not anything:
        hint = nearest(strange[0], takes) if takes else "it takes none"
        text = f"{part.where} has no setting {strange[0]!r}: {hint}"
        raise UnknownSetting(text, strange, list(takes))
    for name, parameter in takes.items():
        if parameter.default is parameter.empty and name not in values:
            raise RecipeError(f"{part.where} needs a setting {name!r}")
    hints = _hints(part.thing)
    return {
        key: _validated(f"{part.where}: {key}", hints.get(key, Any), value)
        for key, value in values.items()
    }


def parameters(part: Named) -> list[inspect.Parameter]:
    """What a function or class takes. `RecipeError` where it can be called with nothing known."""
    if not callable(part.thing):
        raise RecipeError(f"{part.where} is {described(part.thing)}: a function is expected")
    try:
        return list(inspect.signature(part.thing).parameters.values())
    except (TypeError, ValueError) as error:  # written in C: it tells none
        raise RecipeError(f"{part.where} does not tell what it takes: wrap it in a def") from error


def _hints(thing: Any) -> dict[str, Any]:
    """Annotations by name; those that stand for nothing known are left out."""
    own = [vars(each) for each in getattr(thing, "__mro__", ()) if "__init__" in vars(each)]
    function = own[0]["__init__"] if own else thing
    try:
        return typing.get_type_hints(function)
    except Exception:  # whatever an annotation raises
        found = getattr(function, "__annotations__", {})
        return {name: hint for name, hint in found.items() if not isinstance(hint, str)}


def _validated(where: str, hint: Any, value: Any) -> Any:
    """A value as an annotation has it. `RecipeError` where it is none such."""
    try:
        kind: TypeAdapter[Any] = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError:  # settings, which have a configuration of their own
        kind = TypeAdapter(hint)
    try:
        return kind.validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join([where, *map(str, first["loc"])])
        expected = expectation(first["type"], first["msg"], first.get("ctx", {}), first["input"])
        raise RecipeError(f"{key} = {first['input']!r}: expected {expected}") from error
