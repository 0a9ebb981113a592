"""Loads a Python file that a recipe names, and says in one line what is wrong with it."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import FrameType, ModuleType

from hornbeam.errors import ProgramError
from hornbeam.own.given_objects import GIVEN, gave, given_module

OWN = "hornbeam_program_"  # how names of modules begin that are made of a recipe's files
_LOADED: dict[str, bytes] = {}  # module -> the text that it was made of
_LOADING: list[Path] = []  # files whose code runs now, as they are loaded


def load_module(path: Path) -> ModuleType:
    """The file as a module; files beside it can be imported by it while it is loaded.

    In the place of a file may stand what this process was given (`given_objects`).
    A file that is as it was is not loaded again, so that parts of one file are of one module.
    Raises `ProgramError` with file, line and exception.
    """
    if path.name == GIVEN:
        return given_module()
    path = path.resolve()
    if not path.is_file():
        raise ProgramError(f"there is no program file {path}")
    digest = hashlib.blake2b(str(path).encode(), digest_size=4).hexdigest()
    name, text = f"{OWN}{path.stem}_{digest}", path.read_bytes()
    if name in sys.modules and _LOADED.get(name) == text:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ProgramError(f"{path} is no Python file: its name must end with .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))
    _LOADING.append(path)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise ProgramError(f"{path}{_line(error, path)}: {_text(error)}") from error
    finally:
        _LOADING.remove(path)
        sys.path.remove(str(path.parent))
    _LOADED[name] = text
    return module


def check_not_loading(call: str) -> None:
    """Raise `ProgramError` where a file calls this as it is loaded: so would all who load it."""
    if _LOADING:
        raise ProgramError(
            f"{call} is called as {_LOADING[-1].name} is loaded: put it under"
            ' if __name__ == "__main__":'
        )


def is_own_frame(frame: FrameType) -> bool:
    """Whether a frame runs code of such a file, or of where something was given from."""
    name = str(frame.f_globals.get("__name__", ""))
    return name.startswith(OWN) or gave(name)


def place_of(error: BaseException) -> str:
    """The last line of such a file on the way to an error ("mine.py:12"), "" where there is none.

    Of several errors at once that of the first.
    """
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    frames = [(f, line) for f, line in traceback.walk_tb(error.__traceback__) if is_own_frame(f)]
    return f"{Path(frames[-1][0].f_code.co_filename).name}:{frames[-1][1]}" if frames else ""


def _line(error: BaseException, path: Path) -> str:
    """The place in this file (", line 3") where the error tells one."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f", line {error.lineno}"
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    return f", line {lines[-1]}" if lines else ""


def _text(error: BaseException) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {text}".split("\n", 1)[0][:300]
