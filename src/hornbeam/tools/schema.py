"""JSON schemas of tools, as chat templates and servers take them: made of a function, or given.

A schema is {"type": "function", "function": {"name", "description", "parameters"}}. Of a function
it is made of the signature (types by annotation, pydantic's `Annotated[int, Field(ge=1)]` too) and
of a Google-style docstring: what it says first, and "Args:". A tool that was given a schema keeps
it (`with_schema`). A first parameter `task` is the run's own and no model's, so is a `world`.
"""

from __future__ import annotations

import functools
import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, TypeVar, get_type_hints

from pydantic import PydanticUserError, TypeAdapter

from hornbeam.arguments import described, short
from hornbeam.errors import ProgramError
from hornbeam.settings import nearest
from hornbeam.workers.local_workers import WORLD

Schema = dict[str, Any]
F = TypeVar("F", bound=Callable[..., Any])

ALL = "*"  # every tool of the run
OWN = "task"  # a first parameter of this name is not the model's to give, nor is any `WORLD`
_SCHEMA, _HIDDEN = "hornbeam_schema", "hornbeam_hidden"
_SECTION = re.compile(r"^(Args|Arguments|Parameters|Returns?|Yields?|Raises|Examples?|Notes?):\s*$")
_ARGUMENT = re.compile(r"^\*{0,2}(\w+)\s*(?:\([^)]*\))?:\s*(.*)$")


def with_schema(tool: F, schema: Mapping[str, Any]) -> F:
    """Give a tool a schema, which stands in place of the one of its signature."""
    setattr(tool, _SCHEMA, check_schema(schema, f"the schema of {_named(tool)}"))
    return tool


def hidden(tool: F) -> F:
    """Mark a tool that programs call and "*" does not offer to models."""
    setattr(tool, _HIDDEN, True)
    return tool


def offered(
    tools: str | Sequence[Any],
    known: Mapping[str, Callable[..., Any]],
    where: str = "ep.ask: tools",
) -> list[Schema]:
    """The schemas of what is offered to a model, in the order given.

    Each is the name of a tool of the run, one of its functions, "*" for all of them, or a schema
    of its own. Raises `ProgramError` for what the run has not.
    """
    if isinstance(tools, Mapping) or not isinstance(tools, (str, Sequence)):
        raise ProgramError(f"{where} takes a list of tools, not {described(tools)}")
    found: list[Schema] = []
    for tool in [tools] if isinstance(tools, str) else tools:
        if isinstance(tool, Mapping):
            found.append(check_schema(tool, where))
        elif tool == ALL:
            found += [schema_of(n, each) for n, each in known.items() if not hasattr(each, _HIDDEN)]
        else:
            name = _name_in(tool, known, where)
            found.append(schema_of(name, known[name]))
    names = [name_of(schema) for schema in found]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise ProgramError(f"{where}: {twice!r} is there twice")
    return found


def _name_in(tool: Any, known: Mapping[str, Callable[..., Any]], where: str) -> str:
    """The name of a tool of the run."""
    hint = nearest(str(_named(tool)), known) if known else "the run has none"
    if isinstance(tool, str):
        if tool not in known:
            raise ProgramError(f"{where}: there is no tool {tool!r} in this run: {hint}")
        return tool
    if not callable(tool):
        raise ProgramError(f"{where} takes names, functions or schemas, not {described(tool)}")
    same = [name for name, each in known.items() if each is tool]
    same = same or [name for name, each in known.items() if _place(each) == _place(tool)]
    if not same:
        raise ProgramError(
            f"{where}: {_named(tool)} is no tool of this run, so no call of it would be recorded:"
            f" give it a table [tools.{_named(tool)}], or pass it with the run's tools; {hint}"
        )
    return same[0]


def _place(tool: Any) -> tuple[str, int, str] | int:
    """What tells functions apart; one of a file that was loaded twice is the same."""
    code = getattr(tool, "__code__", None)
    return id(tool) if code is None else (code.co_filename, code.co_firstlineno, tool.__qualname__)


def _named(tool: Any) -> str:
    if isinstance(tool, str):
        return tool
    return str(getattr(tool, "__name__", "") or type(tool).__name__)


def _function(tool: Any) -> Any:
    """The function behind a tool: of a `functools.partial`, a decorator, an object with a call."""
    while isinstance(tool, functools.partial):
        tool = tool.func
    return inspect.unwrap(tool if inspect.isroutine(tool) else type(tool).__call__)


def name_of(schema: Mapping[str, Any]) -> str:
    """The name by which a model calls the tool of a schema."""
    return str(schema["function"]["name"])


# --- making and checking --------------------------------------------------------------------------


def schema_of(name: str, tool: Callable[..., Any]) -> Schema:
    """The schema of a tool under that name. Raises `ProgramError` naming function and parameter."""
    own = getattr(tool, _SCHEMA, None)
    if own is not None:
        return {**own, "function": {**own["function"], "name": name}}
    try:
        return _made(name, tool)
    except TypeError:  # an object that has no hash
        return _made.__wrapped__(name, tool)


@functools.lru_cache(maxsize=256)
def _made(name: str, tool: Callable[..., Any]) -> Schema:
    where = f"tool {name!r}"
    try:
        parameters = list(inspect.signature(tool).parameters.values())
    except ValueError as error:
        raise ProgramError(
            f"{where} tells no signature: give it a schema by with_schema"
        ) from error
    description, told = read_docstring(inspect.getdoc(_function(tool)) or "")
    bound = getattr(tool, "keywords", {}) if isinstance(tool, functools.partial) else {}
    properties: dict[str, Any] = {}
    required, more = [], {}
    adapters = {}
    for number, parameter in enumerate(parameters):
        own = (number == 0 and parameter.name == OWN) or parameter.name == WORLD
        if own or parameter.name in bound:
            continue
        here = f"{where}, parameter {parameter.name!r}"
        if parameter.kind is parameter.VAR_KEYWORD:
            more["additionalProperties"] = True
            continue
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
            raise ProgramError(f"{here} has no name in a call, and models give arguments by name")
        adapters[parameter.name] = _adapter(here, parameter, tool)
        if parameter.default is parameter.empty:
            required.append(parameter.name)
    found, shared = TypeAdapter.json_schemas(
        [(name, "validation", adapter) for name, adapter in adapters.items()]
    )
    for parameter in parameters:
        if parameter.name in adapters:
            held = _plain(found[parameter.name, "validation"])
            if parameter.name in told:
                held = {"description": told[parameter.name], **held}
            if parameter.default not in (parameter.empty, None):
                held["default"] = json.loads(json.dumps(parameter.default))
            properties[parameter.name] = held
    inside = {"type": "object", "properties": properties, "required": required, **more}
    inside |= _plain({k: v for k, v in shared.items() if k == "$defs"})
    return {
        "type": "function",
        "function": {"name": name, "description": description, "parameters": inside},
    }


def _adapter(where: str, parameter: inspect.Parameter, tool: Any) -> TypeAdapter[Any]:
    """What knows the schema of a parameter's annotation; one without may be anything."""
    kind = parameter.annotation
    names = getattr(_function(tool), "__globals__", {})
    try:
        if kind is parameter.empty:
            kind = Any
        else:
            holder = SimpleNamespace(__annotations__={"it": kind})
            kind = get_type_hints(holder, names, include_extras=True)["it"]
        adapter = TypeAdapter(kind)
        adapter.json_schema()
    except (PydanticUserError, NameError, SyntaxError, TypeError) as error:
        line = str(error).split("\n", 1)[0].partition(". Set `")[0]  # pydantic's own setting
        raise ProgramError(f"{where}: no JSON schema holds {short(kind)}: {line}"[:300]) from error
    if parameter.default is not parameter.empty:
        try:
            json.dumps(parameter.default, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise ProgramError(
                f"{where}: its default {described(parameter.default)} is no JSON value"
            ) from error
    return adapter


def _plain(schema: Any) -> Any:
    """A schema without the titles that pydantic writes, which say names once more."""
    if isinstance(schema, dict):
        return {
            k: _plain(v)
            for k, v in schema.items()
            if not (k == "title" and isinstance(v, str)) and not (k == "default" and v is None)
        }
    return [_plain(each) for each in schema] if isinstance(schema, list) else schema


def read_docstring(text: str) -> tuple[str, dict[str, str]]:
    r"""(what it says before its sections, what it says of each argument), line ends as blanks.

    >>> read_docstring("Adds.\n\nArgs:\n  a (int): the first\n    of two\n  b: the other")
    ('Adds.', {'a': 'the first of two', 'b': 'the other'})
    """
    head, told = list[str](), dict[str, str]()
    section, name, indent = "", "", 0
    for line in text.splitlines():
        if found := _SECTION.match(line):
            section, name = found[1], ""
        elif not section:
            head.append(line.strip())
        elif section in ("Args", "Arguments", "Parameters") and line.strip():
            depth = len(line) - len(line.lstrip())
            argument = _ARGUMENT.match(line.strip())
            if argument and (not name or depth <= indent):
                name, indent = argument[1], depth
                told[name] = argument[2].strip()
            elif name:
                told[name] = f"{told[name]} {line.strip()}".strip()
    return " ".join(filter(None, head)), told


def check_schema(given: Mapping[str, Any], where: str) -> Schema:
    """A given schema in the form of `schema_of`. Raises `ProgramError` for what is none."""
    try:
        held: Any = json.loads(json.dumps(dict(given), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ProgramError(f"{where}: a schema must be JSON data: {error}"[:300]) from error
    inside = held.get("function", held)
    name = inside.get("name") if isinstance(inside, dict) else None
    if not isinstance(name, str) or not name.strip():
        raise ProgramError(
            f'{where}: a schema needs {{"function": {{"name": ...}}}}: {short(held)}'
        )
    parameters = inside.setdefault("parameters", {"type": "object", "properties": {}})
    properties = parameters.get("properties", {}) if isinstance(parameters, dict) else None
    if not isinstance(properties, dict) or parameters.get("type", "object") != "object":
        raise ProgramError(
            f"{where}: the parameters of {name!r} must be an object with properties:"
            f" {short(parameters)}"
        )
    return {"type": "function", "function": inside}
