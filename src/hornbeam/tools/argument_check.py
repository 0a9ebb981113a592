"""Holds what a model calls a tool with against the tool's JSON schema, before the tool runs.

Left out: `pattern`, `format`, bounds of texts and lists, which a tool may refuse itself. Names that
a schema does not list are refused unless it allows them (`additionalProperties`).
"""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any

from hornbeam.settings import nearest

LONGEST = 80  # characters of a value that a message shows
BOUNDS: dict[str, tuple[Any, str]] = {
    "minimum": (operator.ge, "at least"),
    "maximum": (operator.le, "at most"),
    "exclusiveMinimum": (operator.gt, "above"),
    "exclusiveMaximum": (operator.lt, "below"),
}


def wrong_arguments(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> str:
    """What is wrong with the arguments of a call, for the model to read; "" where they fit."""
    parameters = schema["function"].get("parameters") or {}
    return _wrong(arguments, parameters, "", parameters.get("$defs") or {})


def _wrong(value: Any, schema: Any, at: str, shared: Mapping[str, Any]) -> str:
    """What is wrong with a value at a place ("a.b[0]"), by its schema."""
    if not isinstance(schema, dict):
        return "" if schema is not False else f"{at}: no value is allowed"
    if isinstance(reference := schema.get("$ref"), str):
        schema = {**shared.get(reference.rpartition("/")[2], {}), **schema}
    for key in ("anyOf", "oneOf"):
        if wrong := _none_of(value, schema.get(key) or (), at, shared):
            return wrong
    for each in schema.get("allOf") or ():
        if wrong := _wrong(value, each, at, shared):
            return wrong
    if "const" in schema and value != schema["const"]:
        return f"{at} must be {_json(schema['const'])}, not {_json(value)}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{at} must be one of {', '.join(map(_json, schema['enum']))}, not {_json(value)}"
    kinds = _kinds(schema)
    if kinds and not any(_is(value, kind) for kind in kinds):
        return f"{at or 'the arguments'} must be {' or '.join(kinds)}, not {_json(value)}"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _bounds(value, schema, at)
    if isinstance(value, Mapping):
        return _members(value, schema, at, shared)
    if isinstance(value, list) and "items" in schema:
        found = (_wrong(v, schema["items"], f"{at}[{n}]", shared) for n, v in enumerate(value))
        return next(filter(None, found), "")
    return ""


def _none_of(value: Any, ways: Sequence[Any], at: str, shared: Mapping[str, Any]) -> str:
    """What is wrong where a value fits none of several schemas: by the one of its own type."""
    wrongs = [_wrong(value, way, at, shared) for way in ways]
    if not wrongs or not all(wrongs):
        return ""
    kinds = [_kinds(way) if isinstance(way, dict) else [] for way in ways]
    near = [w for w, own in zip(wrongs, kinds) if any(_is(value, kind) for kind in own)]
    if near or not all(kinds):
        return near[0] if near else wrongs[0]
    words = " or ".join(dict.fromkeys(kind for own in kinds for kind in own))
    return f"{at} must be {words}, not {_json(value)}"


def _kinds(schema: Mapping[str, Any]) -> list[str]:
    kinds = schema.get("type", [])
    return [kinds] if isinstance(kinds, str) else list(kinds)


def _members(
    value: Mapping[str, Any], schema: Mapping[str, Any], at: str, shared: Mapping[str, Any]
) -> str:
    """What is wrong with the members of an object; without properties it may have any."""
    known, more = schema.get("properties") or {}, schema.get("additionalProperties")
    lead = f"{at}." if at else ""
    if more is None:
        more = not known and bool(at)
    strange = [name for name in value if name not in known]
    if strange and more is False:
        hint = nearest(strange[0], known) if known else "it takes none"
        return f"there is no argument {lead + strange[0]!r}: {hint}"
    missing = [name for name in schema.get("required") or () if name not in value]
    if missing:
        return f"the argument {lead + missing[0]!r} is missing"
    for name, each in value.items():
        if wrong := _wrong(each, known.get(name, more), lead + name, shared):
            return wrong
    return ""


def _bounds(value: float, schema: Mapping[str, Any], at: str) -> str:
    if not math.isfinite(value):
        return f"{at} must be a finite number"
    for key, (fits, words) in BOUNDS.items():
        if key in schema and not fits(value, schema[key]):
            return f"{at} must be {words} {schema[key]}, not {value}"
    return ""


def _is(value: Any, kind: str) -> bool:
    """Whether a JSON value is of a schema's type; true and false are no numbers."""
    if kind in ("integer", "number"):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        return kind == "number" or isinstance(value, int) or value.is_integer()
    kinds: dict[str, Any] = {"string": str, "boolean": bool, "array": list, "object": Mapping}
    return value is None if kind == "null" else isinstance(value, kinds.get(kind, object))


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
