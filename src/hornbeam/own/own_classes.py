"""Classes of one's own with settings as ready-made ones have them: checked, and sent elsewhere."""

from __future__ import annotations

import copyreg
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from hornbeam.arguments import described
from hornbeam.errors import RecipeError
from hornbeam.own.own_code import load_module
from hornbeam.own.own_parts import Base, Named, find_part
from hornbeam.settings import Settings, build

S = TypeVar("S", bound=Settings)


def build_part(
    kind: str,
    known: Mapping[str, type[S]],
    parents: tuple[type, ...],
    name: str,
    values: Mapping[str, Any],
    base: Base = "",
) -> S:
    """The settings of a ready-made name, or of a class of one's own that derives from a parent."""
    if name not in known:
        known = {name: subclass(find_part(kind, name, known, base), parents)}
    return build(kind, known, name, values)


def subclass(part: Named, parents: tuple[type, ...]) -> Any:
    """The class that a part is. `RecipeError` where it derives from no parent or lacks a method."""
    thing, names = part.thing, " or ".join(parent.__name__ for parent in parents)
    if not isinstance(thing, type) or not issubclass(thing, parents):
        raise RecipeError(
            f"{part.where} is {described(thing)}: a class that derives from {names} is expected"
        )
    if lacks := sorted(getattr(thing, "__abstractmethods__", ())):
        raise RecipeError(f"{part.where} lacks {', '.join(lacks)}, which {names} asks for")
    if part.origin is not None and issubclass(thing, Settings):
        _ORIGINS[thing] = part.origin
        copyreg.pickle(thing, _packed)
    return thing


_ORIGINS: dict[type, tuple[str, str]] = {}


def _packed(made: Settings) -> tuple[Any, ...]:
    """How settings whose class is of a file go to another process, which loads the file itself."""
    return _unpacked, (*_ORIGINS[type(made)], made.model_dump(exclude_unset=True))


def _unpacked(file: str, name: str, values: Mapping[str, Any]) -> Settings:
    where = f"{Path(file).name}: {name}"
    found: type[Settings] = subclass(
        Named(getattr(load_module(Path(file)), name), where, (file, name)), (Settings,)
    )
    return found.model_validate(values)
