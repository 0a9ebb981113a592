"""Definitions of tools as OpenAI's API has them, checked before a template is told of them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
TYPES = {"string", "number", "integer", "boolean", "object", "array", "null"}
FORM = '{"type": "function", "function": {"name": ..., "description": ..., "parameters": {...}}}'


def schema_problem(tools: Sequence[Any]) -> str:
    """What is wrong with the first definition that is no JSON schema, in a line; "" if none is."""
    names = set[str]()
    for n, tool in enumerate(tools, 1):
        held = tool.get("function", tool) if isinstance(tool, dict) else None
        if not isinstance(held, dict) or not isinstance(held.get("name"), str):
            return f"tool {n}: {FORM} is expected, not {tool!r:.80}"
        name = held["name"]
        if not NAME.fullmatch(name):
            return f"tool {n}: {name!r:.80} is no name: up to 64 letters, digits, _ . and -"
        if name in names:
            return f"tool {n}: there is a tool {name!r} already"
        names.add(name)
        try:
            json.dumps(tool, allow_nan=False, ensure_ascii=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            return f"tool {name!r}: its definition cannot be written as JSON: {error}"
        parameters = held.get("parameters")
        if parameters is None:
            continue
        if not isinstance(parameters, dict) or parameters.get("type", "object") != "object":
            return f'tool {name!r}: "parameters" must be a JSON schema of type "object"'
        if problem := _problem(parameters, "parameters"):
            return f"tool {name!r}: {problem}"
    return ""


def _problem(schema: Any, where: str) -> str:
    """What is wrong in a schema or in those below it."""
    if isinstance(schema, bool):
        return ""
    if not isinstance(schema, dict):
        return f"{where} is no JSON schema: {schema!r:.80}"
    types = schema.get("type", [])
    for kind in types if isinstance(types, list) else [types]:
        if kind not in TYPES:
            return f"{where}: no JSON schema has the type {kind!r:.80}; {', '.join(sorted(TYPES))}"
    for key in ("required", "enum"):
        if key in schema and not isinstance(schema[key], list):
            return f"{where}: {key!r} must be a list"
    below = [(f"{where}.items", schema["items"])] if "items" in schema else []
    for key in ("properties", "$defs"):
        held = schema.get(key, {})
        if not isinstance(held, dict):
            return f"{where}: {key!r} must be an object"
        below += [(f"{where}.{name}", each) for name, each in held.items()]
    for key in ("anyOf", "oneOf", "allOf"):
        below += [(f"{where}.{key}", each) for each in schema.get(key, [])]
    return next((found for at, each in below if (found := _problem(each, at))), "")
