"""What a tool can be seen to keep between its calls, and copies of tools that keep their own.

Seen are variables of closures, globals that a function names, default arguments, attributes of an
object that is called, also of functions of the same file that it calls. What lies elsewhere (files,
servers, other modules) is not.
"""

from __future__ import annotations

import copy
import dis
import functools
import inspect
from collections.abc import Callable, Iterator
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from hornbeam.workers.object_size import object_size

Tool = Callable[..., Any]
PLAIN = (type(None), bool, int, float, complex, str, bytes, type, ModuleType, BuiltinFunctionType)
REBINDS = ("STORE_GLOBAL", "DELETE_GLOBAL", "STORE_DEREF", "DELETE_DEREF")
LARGEST = 16_000_000  # bytes of state that is copied


def visible_state(tool: Tool) -> list[str]:
    """What a tool can change between its calls, in words: "the global NOTES, a list"."""
    return list(dict.fromkeys(_seen(tool, set())))


def _seen(tool: Any, done: set[int]) -> Iterator[str]:
    if id(tool) in done:
        return
    done.add(id(tool))
    if isinstance(tool, functools.partial):
        for value in (*tool.args, *tool.keywords.values()):
            if not _is_fixed(value):
                yield f"an argument of its partial, {_kind(value)}"
        yield from _seen(tool.func, done)
    elif isinstance(tool, MethodType):
        if not isinstance(tool.__self__, type):
            yield f"its object, {_kind(tool.__self__)}"
    elif isinstance(tool, FunctionType):
        yield from _of_function(tool, done)
    elif callable(tool) and not isinstance(tool, (type, BuiltinFunctionType)):
        for name, value in getattr(tool, "__dict__", {}).items():
            if not name.startswith("hornbeam_"):
                yield f"its attribute {name}, {_kind(value)}"


def _of_function(tool: FunctionType, done: set[int]) -> Iterator[str]:
    rebound = _rebound(tool.__code__)
    for name, cell in zip(tool.__code__.co_freevars, tool.__closure__ or ()):
        value = _content(cell)
        if isinstance(value, FunctionType):
            yield from _seen(value, done)
        elif name in rebound or not _is_fixed(value):
            yield f"the variable {name} of its closure, {_kind(value)}"
    for name in _names(tool.__code__):
        if name not in tool.__globals__:
            continue
        value = tool.__globals__[name]
        if isinstance(value, FunctionType):
            if value.__globals__ is tool.__globals__:
                yield from _seen(value, done)
        elif name in rebound or not _is_fixed(value):
            yield f"the global {name}, {_kind(value)}"
    for value in (*(tool.__defaults__ or ()), *(tool.__kwdefaults__ or {}).values()):
        if not _is_fixed(value):
            yield f"a default argument, {_kind(value)}"


def _kind(value: Any) -> str:
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not bound yet
        return None


def _is_fixed(value: Any) -> bool:
    """Whether a value cannot change in place."""
    if isinstance(value, (tuple, frozenset)):
        return all(map(_is_fixed, value))
    if isinstance(value, PLAIN) or inspect.isroutine(value):
        return True
    return type(value).__module__ in ("typing", "re", "__future__", "types", "pathlib")


def _names(code: CodeType) -> list[str]:
    """Names of globals that code reads, that of functions inside too."""
    inner = [name for each in code.co_consts if isinstance(each, CodeType) for name in _names(each)]
    return list(dict.fromkeys([*code.co_names, *inner]))


def _rebound(code: CodeType) -> set[str]:
    """Names that code binds anew outside of its own frame."""
    own = {each.argval for each in dis.get_instructions(code) if each.opname in REBINDS}
    own -= set(code.co_cellvars)
    for each in code.co_consts:
        if isinstance(each, CodeType):
            own |= _rebound(each) - set(code.co_cellvars)
    return own


# --- copies ---------------------------------------------------------------------------------------


def copied_tool(tool: Tool) -> Tool:
    """A tool with a copy of what it can be seen to keep; the tool itself where that cannot be."""
    try:
        made: Tool = _Copies().of(tool)
        return made
    except Exception:  # whatever a copy raises
        return tool


class _TooLarge(Exception):
    """More state than is copied for a look."""


class _Copies:
    """Copies that share what their originals share."""

    def __init__(self) -> None:
        self._memo: dict[int, Any] = {}
        self._functions: dict[int, FunctionType] = {}
        self._globals: dict[int, dict[str, Any]] = {}
        self._left = LARGEST

    def of(self, tool: Any) -> Any:
        if isinstance(tool, functools.partial):
            keywords = {name: self._value(value) for name, value in tool.keywords.items()}
            made = functools.partial(self.of(tool.func), *map(self._value, tool.args), **keywords)
            made.__dict__.update(tool.__dict__)
            return made
        if isinstance(tool, MethodType):
            return MethodType(tool.__func__, self._value(tool.__self__))
        return self._function(tool) if isinstance(tool, FunctionType) else self._value(tool)

    def _value(self, value: Any) -> Any:
        if isinstance(value, FunctionType):
            return self._function(value)
        if _is_fixed(value):
            return value
        if id(value) not in self._memo:
            size = object_size(value, self._left)
            if size > self._left:
                raise _TooLarge
            self._left -= size
        return copy.deepcopy(value, self._memo)

    def _function(self, tool: FunctionType) -> FunctionType:
        if id(tool) in self._functions:
            return self._functions[id(tool)]
        names = self._globals.setdefault(id(tool.__globals__), dict(tool.__globals__))
        cells = tuple(CellType() for _ in tool.__closure__ or ())
        made = FunctionType(tool.__code__, names, tool.__name__, tool.__defaults__, cells or None)
        self._functions[id(tool)] = made
        for cell, own in zip(cells, tool.__closure__ or ()):
            cell.cell_contents = self._value(_content(own))
        made.__defaults__ = tuple(map(self._value, tool.__defaults__ or ())) or None
        keywords = tool.__kwdefaults__
        made.__kwdefaults__ = keywords and {k: self._value(v) for k, v in keywords.items()}
        made.__dict__.update(tool.__dict__)
        made.__annotations__ = tool.__annotations__
        for name in _names(tool.__code__):
            value = tool.__globals__.get(name)
            if isinstance(value, FunctionType) and value.__globals__ is not tool.__globals__:
                continue
            if name in tool.__globals__ and names[name] is value:
                names[name] = self._value(value)
        return made
