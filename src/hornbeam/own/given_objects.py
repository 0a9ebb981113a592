"""Objects of this process that a recipe names: functions and classes that stand in no file.

`GIVEN` stands in the place of the file's name, as in "<python>:score_3f2a1c". The name ends with a
digest of the object's code, so that other code has another name, in a recipe and on resume.
"""

from __future__ import annotations

import hashlib
import inspect
import re
from types import CodeType, ModuleType
from typing import Any

GIVEN = "<python>"
_MODULE = ModuleType(GIVEN)  # the objects, by their names
_MODULES: set[str] = set()  # names of the modules that they were defined in


def give(thing: Any) -> str:
    """The name under which a recipe of this process finds a function or class."""
    plain = re.sub(r"\W", "", getattr(thing, "__name__", type(thing).__name__)) or "function"
    name = f"{plain}_{hashlib.blake2b(code_of(thing), digest_size=3).hexdigest()}"
    setattr(_MODULE, name, thing)
    _MODULES.add(getattr(thing, "__module__", ""))
    return f"{GIVEN}:{name}"


def given_module() -> ModuleType:
    """What stands in the place of a loaded file; it has what was given."""
    return _MODULE


def gave(module: str) -> bool:
    """Whether something that was given was defined in a module of this name."""
    return module in _MODULES


def is_given(name: str) -> bool:
    """Whether a name is of what was given, in whichever process that was."""
    return name.rpartition(":")[0] == GIVEN


def missing_object(name: str) -> str:
    """Why a name cannot be found here, or ""."""
    if hasattr(_MODULE, name.rpartition(":")[2]):
        return ""
    return "it was given in Python and stands in no file: call hornbeam from there again"


def code_of(thing: Any) -> bytes:
    """What tells a function's or class's code from other code: its source, else its byte code."""
    found = inspect.unwrap(thing)
    try:
        return inspect.getsource(found).encode("utf-8", "surrogatepass")
    except (OSError, TypeError):
        code = getattr(found, "__code__", None)
        if isinstance(code, CodeType):
            return repr(_read(code)).encode("utf-8", "surrogatepass")
        return repr(type(found)).encode()


def _read(code: CodeType) -> list[Any]:
    """All that a function does, without the places where that lies in memory."""
    inner = [_read(each) if isinstance(each, CodeType) else repr(each) for each in code.co_consts]
    return [code.co_code, code.co_names, code.co_varnames, inner]
