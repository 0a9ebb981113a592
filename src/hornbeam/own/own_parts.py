"""Parts that are not ready-made, by name: out of a file, or from an installed package.

    strategy = "mine.py:Widest"     a name in a file, beside the recipe
    strategy = "widest"             a name that a package gives as an entry point (`GROUPS`)

Ready-made names come first. Packages are looked through only for a name that is none of them.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from hornbeam.errors import RecipeError
from hornbeam.files import paths
from hornbeam.own.given_objects import is_given, missing_object
from hornbeam.own.own_code import load_module
from hornbeam.settings import nearest

Base = str | Path  # the folder of the recipe

# What a part is called in messages -> the group of entry points by which packages add to it.
GROUPS = {
    "strategy": "hornbeam.strategy",
    "credit method": "hornbeam.credit",
    "sink": "hornbeam.sinks",
    "guide": "hornbeam.guide",
    "reward": "hornbeam.reward",
    "chooser": "hornbeam.chooser",
    "segmenter": "hornbeam.segmenter",
    "loss": "hornbeam.loss",
    "task source": "hornbeam.tasks",
    "tool": "hornbeam.tool",
    "world": "hornbeam.world",
    "program": "hornbeam.program",
    "chunk label": "hornbeam.label",
    "state key": "hornbeam.state",
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


def check_name(kind: str, name: str, known: Collection[str]) -> str:
    """The name, if it can be one of this kind. `ValueError` where nobody gives it."""
    if name not in known and not is_own(name):
        names = {*known, *(point.name for point in installed(kind))}
        if name not in names:
            raise ValueError(f"{name!r}: {nearest(name, names)}")
    return name


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
    defined = [] if is_given(name) else _defined(path)
    hint = nearest(attribute, defined) if defined else "there is none"
    missing = RecipeError(f"{kind}: {file} has no {attribute!r}: {hint}")
    if attribute not in defined and not is_given(name) and not _may_bind(path, attribute):
        raise missing
    module = load_module(path)
    if not hasattr(module, attribute):
        raise missing
    return Named(
        getattr(module, attribute), f"{file}: {attribute}", (str(path.resolve()), attribute)
    )


def _defined(path: Path) -> list[str]:
    """The functions and classes of a file, read without running it; none of one that is broken."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return [each.name for each in ast.walk(_parsed(path)) if isinstance(each, kinds)]


def _may_bind(path: Path, name: str) -> bool:
    """Whether a file could have a name that it does not define: be it imported, assigned, broken.

    So a misspelt name is told before what the file imports is loaded.
    """
    tree = _parsed(path)
    if path.suffix != ".py" or not tree.body:
        return True
    words = {each.id for each in ast.walk(tree) if isinstance(each, ast.Name)}
    words |= {each.asname or each.name for each in ast.walk(tree) if isinstance(each, ast.alias)}
    return not words.isdisjoint({name, "*", "globals", "setattr", "exec"})


def _parsed(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # whoever loads it will say what is wrong
        return ast.Module([], [])


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
