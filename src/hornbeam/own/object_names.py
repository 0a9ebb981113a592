"""Names by which a recipe finds a Python object: "file.py:name", else one of this process alone."""

from __future__ import annotations

import ast
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from hornbeam.errors import ProgramError
from hornbeam.own.given_objects import GIVEN, give, given_module
from hornbeam.own.own_code import load_module

# Calls that a file must not make as it is loaded: whoever loads it would train again.
JOBS = frozenset({"train", "search", "evaluate", "label", "fit", "sft", "grow_trees", "main"})


def name_of(thing: Any, base: Path | None = None) -> str:
    """The name of a function or class in a recipe: by its file where that can be loaded.

    The file's path is from `base` where it lies below it, else from the working directory. What a
    script defines is given as it is: the whole script would be held with it on resume.
    """
    script = getattr(thing, "__module__", "") == "__main__"
    return give(thing) if script or why_no_file(thing) else file_name(thing, base)


def file_name(thing: Any, base: Path | None = None) -> str:
    """The name by file of a thing that has one."""
    path = _file(thing).resolve()
    for folder in (base, Path()):
        if folder is not None and path.is_relative_to(folder.resolve()):
            path = path.relative_to(folder.resolve())
            break
    return f"{path.as_posix()}:{thing.__name__}"


def origin(given: str) -> tuple[str, str]:
    """(file, name) by which another process loads what was given; (`GIVEN`, its name) if none."""
    thing = getattr(given_module(), given)
    return (GIVEN, given) if why_no_file(thing) else (str(_file(thing)), thing.__name__)


def why_no_file(thing: Any) -> str:
    """Why a recipe cannot name this by a file, or ""."""
    name, module = getattr(thing, "__qualname__", ""), _module(thing)
    what = name.rpartition(".")[2] or type(thing).__name__
    if not name.isidentifier():
        return f"{what} is made inside of something else: define it at the top of a file"
    file = getattr(module, "__file__", None)
    if module is None or not file or not Path(file).is_file() or Path(file).suffix != ".py":
        return f"{what} stands in no file: define it in one, and import it from there"
    if getattr(module, name, None) is not thing:
        return f"{Path(file).name} has another {what} now"
    if module.__name__ == "__main__":
        return _works(Path(file))
    return _unloadable(module, name) if module.__package__ else ""


def _file(thing: Any) -> Path:
    return Path(getattr(_module(thing), "__file__", None) or "")


def _module(thing: Any) -> ModuleType | None:
    return sys.modules.get(getattr(thing, "__module__", None) or "")


def _unloadable(module: ModuleType, name: str) -> str:
    """Why a file of a package cannot be loaded by itself, or ""."""
    try:
        found = load_module(Path(module.__file__ or ""))
    except ProgramError as error:
        return f"{module.__name__} is a part of a package: {error}"
    return "" if hasattr(found, name) else f"{module.__name__} makes no {name} when loaded"


def _works(path: Path) -> str:
    """Where a script calls a job outside of functions: whoever loads it would do so too. Or ""."""
    for statement in ast.parse(path.read_bytes()).body:
        guard = isinstance(statement, ast.If) and "__name__" in ast.unparse(statement.test)
        if guard or isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        for node in ast.walk(statement):
            if isinstance(node, ast.Call) and _called(node) in JOBS:
                return (
                    f"{path.name}, line {node.lineno}, does its work as the file is loaded: put"
                    ' that under if __name__ == "__main__":'
                )
    return ""


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def is_code(value: Any) -> bool:
    """Whether a value is a function or class, which a recipe holds by a name."""
    return inspect.isroutine(value) or isinstance(value, type)
