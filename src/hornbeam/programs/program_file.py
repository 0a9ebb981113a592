"""Loads a user's Python file and says in one line what is wrong with it."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

from hornbeam.episode.failures import OWN
from hornbeam.errors import ProgramError


def load_module(path: Path) -> ModuleType:
    """The file as a module; files beside it can be imported by it while it is loaded.

    Raises `ProgramError` with file, line and exception.
    """
    path = path.resolve()
    if not path.is_file():
        raise ProgramError(f"there is no program file {path}")
    digest = hashlib.blake2b(str(path).encode(), digest_size=4).hexdigest()
    name = f"{OWN}{path.stem}_{digest}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ProgramError(f"{path} is no Python file: its name must end with .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise ProgramError(f"{path}{_line(error, path)}: {_text(error)}") from error
    finally:
        sys.path.remove(str(path.parent))
    return module


def _line(error: BaseException, path: Path) -> str:
    """The place in this file (", line 3") where the error tells one."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f", line {error.lineno}"
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    return f", line {lines[-1]}" if lines else ""


def _text(error: BaseException) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {text}".split("\n", 1)[0][:300]
