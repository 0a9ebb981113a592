"""How many bytes Python objects hold, walked so far as a bound allows."""

from __future__ import annotations

import gc
import sys
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

SHARED = (type, ModuleType, FunctionType, BuiltinFunctionType)  # which a copy shares


ARRAYS = ("torch", "numpy")  # whose numbers lie outside of Python's own memory


def _own_size(each: Any) -> int:
    size = sys.getsizeof(each, 64)
    if type(each).__module__.partition(".")[0] in ARRAYS:
        more = getattr(each, "nbytes", 0)
        return max(size, more) if isinstance(more, int) else size
    return size


def object_size(thing: Any, most: int = sys.maxsize) -> int:
    """Bytes of an object and all that it refers to, each once; one above `most` where it is more.

    Classes, modules and functions are shared by copies, and not counted.
    """
    seen, todo, size = {id(thing)}, [thing], 0
    while todo and size <= most:
        each = todo.pop()
        if isinstance(each, SHARED):
            continue
        size += _own_size(each)
        for inner in gc.get_referents(each):
            if id(inner) not in seen:
                seen.add(id(inner))
                todo.append(inner)
    return size if size <= most else most + 1
