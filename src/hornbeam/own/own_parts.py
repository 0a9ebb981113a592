"""Parts that are not ready-made, by name: out of a file, or from an installed package.

    strategy = "mine.py:Widest"     a name in a file, beside the recipe
    strategy = "widest"             a name that a package gives as an entry point (`GROUPS`)

Ready-made names come first. Packages are looked through only for a name that is none of them.
"""

from __future__ import annotations

import copyreg
import hashlib
import inspect
import typing
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from hornbeam.arguments import described
from hornbeam.errors import RecipeError, UnknownSetting
from hornbeam.files import paths
from hornbeam.own.given_objects import is_given, missing_object
from hornbeam.own.own_code import load_module
from hornbeam.settings import Settings, build, expectation, nearest

S = TypeVar("S", bound=Settings)
Base = str | Path  # the folder of the recipe

# What a part is called in messages -> the group of entry points by which packages add to it.
GROUPS = {
    "strategy": "hornbeam.strategy",
    "credit method": "hornbeam.credit",
    "sink": "hornbeam.sinks",
}


@dataclass(frozen=True, slots=True)
class Named:
    """What a name stands for, and where that is: "mine.py: Widest", "widest of package plus"."""

    thing: Any
    where: str
    origin: tuple[str, str] | None = None  # its file and its name there


def is_own(name: str) -> bool:
    """Whether a name is one of a file."""
    return ":" in name or name.endswith(".py")


def code_mark(name: str, base: Base = "") -> list[str]:
    """What tells the file of an own name from another version of it; empty for other names."""
    if not is_own(name) or is_given(name):  # the name of what was given tells its code
        return []
    path = paths.find(name.rpartition(":")[0], Path(base))
    return [hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()]


def find_part(kind: str, name: str, known: Iterable[str] = (), base: Base = "") -> Named:
    """What a name that is not ready-made stands for, `base` being the recipe's own folder.

    `kind` is one of `GROUPS`, `known` are the ready-made names. Raises `RecipeError`, for a file
    that cannot be loaded `ProgramError`: one line.
    """
    return _of_file(kind, name, Path(base)) if is_own(name) else _installed(kind, name, known)


def _of_file(kind: str, name: str, base: Path) -> Named:
    file, colon, attribute = name.rpartition(":")
    if not colon or not attribute.isidentifier():
        raise RecipeError(f"{kind} {name!r}: name what it is in its file too, as in mine.py:name")
    path = paths.find(file, base)
    if wrong := _absent(name, file, base):
        raise RecipeError(f"{kind} {name!r}: {wrong}")
    module = load_module(path)
    try:
        thing = getattr(module, attribute)
        return Named(thing, f"{file}: {attribute}", (str(path.resolve()), attribute))
    except AttributeError:
        own = [
            n
            for n, value in vars(module).items()
            if getattr(value, "__module__", "") == module.__name__ and not n.startswith("_")
        ]
        hint = nearest(attribute, own) if own else "there is none"
        raise RecipeError(f"{kind}: {file} has no {attribute!r}: {hint}") from None


def _absent(name: str, file: str, base: Path) -> str:
    """Why what an own name is of is not here, or ""."""
    if is_given(name):
        return missing_object(name)
    return "" if paths.find(file, base).is_file() else paths.missing(file, base)


def _installed(kind: str, name: str, known: Iterable[str]) -> Named:
    offered = installed(kind)
    found = [point for point in offered if point.name == name]
    if not found:
        names = {*known, *(point.name for point in offered)}
        raise RecipeError(f"unknown {kind} {name!r}: {nearest(name, names)}")
    packages = sorted({package_of(point) for point in found})
    if len(packages) > 1:
        raise RecipeError(f"{kind} {name!r}: {' and '.join(packages)} both give it: uninstall one")
    return Named(loaded(kind, found[0]), f"{name} of package {packages[0]}")


def installed(kind: str) -> list[EntryPoint]:
    """What packages give of a kind, by name."""
    return sorted(entry_points(group=GROUPS[kind]), key=lambda point: point.name)


def package_of(point: EntryPoint) -> str:
    """The name of the package that an entry point is of."""
    return point.dist.name if point.dist is not None else point.module


def loaded(kind: str, point: EntryPoint) -> Any:
    """What an entry point stands for. Raises `RecipeError` naming its package, in one line."""
    try:
        return point.load()
    except (Exception, SystemExit) as error:
        text = f"{type(error).__name__}: {error}".split("\n", 1)[0]
        raise RecipeError(
            f"{kind} {point.name!r} of package {package_of(point)} cannot be loaded from"
            f" {point.value}: {text}"
        ) from error


# --- what has settings ---------------------------------------------------------------------------


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
    function = vars(thing).get("__init__", thing) if isinstance(thing, type) else thing
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
