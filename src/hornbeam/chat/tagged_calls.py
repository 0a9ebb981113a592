"""Families that write arguments between tags, or in a notation of their own."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from hornbeam.chat.call_scan import Body, CallFormat, ReadBody, Schemas, properties, typed
from hornbeam.chat.json_spans import skip, value_at

Arguments = Callable[[str, Mapping[str, Any]], dict[str, Any]]


def _kept(value: Any) -> Any:
    """The value, if files can keep it. `ValueError` else."""
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    return value


def _pairs(pattern: str, strip: bool = False) -> tuple[ReadBody, Arguments]:
    """Readers of arguments one by one: groups `key` and `value` of a pattern, `text` where the
    model says that a value is text.
    """
    one = re.compile(pattern, re.DOTALL)

    def read(text: str, at: int, schema: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
        out = dict[str, Any]()
        while (found := one.match(text, skip(text, at))) is not None:
            groups = found.groupdict()
            value = groups["value"]
            if strip:
                value = value.removeprefix("\n").removesuffix("\n")
            how = {"true": {"type": "string"}, "false": {}}.get(groups.get("text") or "")
            key = groups["key"].strip()
            out[key] = typed(value, properties(schema, key) if how is None else how)
            at = found.end()
        return _kept(out), at

    def body(text: str, at: int, name: str, schemas: Schemas) -> Body:
        arguments, stop = read(text, at, schemas.get(name, {}))
        return name, arguments, text[at:stop], "", stop

    def arguments(raw: str, schema: Mapping[str, Any]) -> dict[str, Any]:
        out, stop = read(raw, 0, schema)
        if raw[stop:].strip():
            raise ValueError("not the form that the chat template writes")
        return out

    return body, arguments


def _format(
    name: str,
    begins: str,
    opens: str,
    how: tuple[ReadBody, Arguments],
    closes: str,
    joins: str = "",
) -> CallFormat:
    return CallFormat(
        name,
        re.compile(begins),
        re.compile(opens),
        how[0],
        re.compile(closes),
        how[1],
        re.compile(joins) if joins else None,
        closed=True,
    )


# --- values in braces, as Gemma writes them ------------------------------------------------------


def _braces(quote: str) -> tuple[ReadBody, Arguments]:
    """Readers of `{key:value,...}` whose texts stand between two quotes of this name."""

    def value(text: str, at: int) -> tuple[Any, int]:
        at = skip(text, at)
        if text.startswith(quote, at):
            end = text.find(quote, at + len(quote))
            if end < 0:
                raise ValueError("a text is not closed")
            return text[at + len(quote) : end], end + len(quote)
        if text.startswith("{", at):
            return members(text, at)
        if text.startswith("[", at):
            return items(text, at)
        found = value_at(text, at)
        return found.value, found.stop

    def items(text: str, at: int) -> tuple[list[Any], int]:
        out, at = list[Any](), skip(text, at + 1)
        while not text.startswith("]", at):
            held, at = value(text, at)
            out.append(held)
            at = _after(text, at, "]")
        return out, at + 1

    def members(text: str, at: int) -> tuple[dict[str, Any], int]:
        out, at = dict[str, Any](), skip(text, at + 1)
        while not text.startswith("}", at):
            if text.startswith(quote, at):
                key, at = value(text, at)
            else:
                end = text.find(":", at)
                if end < 0:
                    raise ValueError("a name without a value")
                key, at = text[at:end].strip(), end
            at = skip(text, at)
            if not text.startswith(":", at):
                raise ValueError("a name without a value")
            out[key], at = value(text, at + 1)
            at = _after(text, at, "}")
        return out, at + 1

    def arguments(raw: str, schema: Mapping[str, Any]) -> dict[str, Any]:
        try:
            out, _ = members(raw, skip(raw, 0))
        except RecursionError as error:
            raise ValueError("it is nested too deep") from error
        return dict(_kept(out))

    def body(text: str, at: int, name: str, schemas: Schemas) -> Body:
        try:
            out, stop = members(text, at)
        except RecursionError as error:
            raise ValueError("it is nested too deep") from error
        return name, _kept(out), text[at:stop], "", stop

    return body, arguments


def _after(text: str, at: int, end: str) -> int:
    """The place of the next value, or of the end."""
    at = skip(text, at)
    if text.startswith(",", at):
        return skip(text, at + 1)
    if not text.startswith(end, at):
        raise ValueError(f"a comma or {end} is missing")
    return at


# --- calls as Python writes them -----------------------------------------------------------------

CONSTANTS = {"true": True, "false": False, "null": None}


def _python(raw: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of literals; JSON's constants count too."""
    try:
        parsed = ast.parse(f"f({raw})", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"no Python call: {error.args[0] if error.args else error}") from error
    if (
        not isinstance(parsed, ast.Call)
        or parsed.args
        or any(k.arg is None for k in parsed.keywords)
    ):
        raise ValueError("arguments need their names")
    return dict(_kept({str(k.arg): _literal(k.value) for k in parsed.keywords}))


def _literal(node: ast.AST) -> Any:
    if isinstance(node, ast.Name) and node.id in CONSTANTS:
        return CONSTANTS[node.id]
    if isinstance(node, ast.List):
        return [_literal(each) for each in node.elts]
    if isinstance(node, ast.Dict):
        keys = [_literal(key) if key is not None else None for key in node.keys]
        if not all(isinstance(key, str) for key in keys):
            raise ValueError("an object needs names")
        return {key: _literal(each) for key, each in zip(keys, node.values)}
    value = ast.literal_eval(node)  # type: ignore[arg-type]
    if not isinstance(value, (str, int, float, bool, type(None))):
        raise ValueError(f"{type(value).__name__} is no JSON")
    return value


def _python_body(text: str, at: int, name: str, schemas: Schemas) -> Body:
    stop = _bracket(text, at)
    return name, _python(text[at:stop], {}), text[at:stop], "", stop + 1


def _bracket(text: str, at: int) -> int:
    """Where the bracket closes that was open; texts in quotes are passed over."""
    depth, quote = 1, ""
    while at < len(text):
        char = text[at]
        if quote:
            at += char == "\\"
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        else:
            depth += (char in "([{") - (char in ")]}")
            if not depth:
                return at
        at += 1
    raise ValueError("a bracket is not closed")


QWEN_XML = _format(  # Qwen3-Coder, Qwen3.5, Nemotron 3, Seed
    "qwen_xml",
    "<(?:seed:)?tool_call>",
    r"<(?:seed:)?tool_call>\s*<function=(?P<name>[^>\n]+)>\n?",
    _pairs(
        r"<parameter=(?P<key>[^>\n]+)>(?P<value>.*?)</parameter>"
        r"(?=\s*(?:<parameter=|</function>|\Z))",
        strip=True,
    ),
    r"\s*</function>\s*(?:</(?:seed:)?tool_call>|\Z)",
)
INVOKE = _format(  # MiniMax M2, DeepSeek V3.2
    "invoke",
    r"(?:<(?:minimax:tool_call|｜DSML｜function_calls)>\s*)?<(?:｜DSML｜)?invoke ",
    r"(?:<(?:minimax:tool_call|｜DSML｜function_calls)>\s*)?"
    r"<(?:｜DSML｜)?invoke name=\"(?P<name>[^\"\n]+)\">\n?",
    _pairs(
        r"<(?:｜DSML｜)?parameter name=\"(?P<key>[^\"\n]+)\"(?: string=\"(?P<text>true|false)\")?>"
        r"(?P<value>.*?)</(?:｜DSML｜)?parameter>(?=\s*(?:<(?:｜DSML｜)?parameter|</|\Z))"
    ),
    r"\s*</(?:｜DSML｜)?invoke>\s*(?:</(?:minimax:tool_call|｜DSML｜function_calls)>)?",
)
GLM = _format(  # GLM 4.5 and later
    "glm",
    "<tool_call>",
    r"<tool_call>\s*(?P<name>[^\s<{]+)\s*(?=<arg_key>|</tool_call>|\Z)",
    _pairs(
        r"<arg_key>(?P<key>.*?)</arg_key>\s*<arg_value>(?P<value>.*?)</arg_value>"
        r"(?=\s*(?:<arg_key>|</tool_call>|\Z))"
    ),
    r"\s*</tool_call>",
)
GEMMA4 = _format(
    "gemma4",
    r"<\|tool_call>",
    r"<\|tool_call>\s*call:(?P<name>[^\s{]+)\s*(?=\{)",
    _braces('<|"|>'),
    r"\s*<tool_call\|>",
)
FUNCTION_GEMMA = _format(
    "function_gemma",
    "<start_function_call>",
    r"<start_function_call>\s*call:(?P<name>[^\s{]+)\s*(?=\{)",
    _braces("<escape>"),
    r"\s*<end_function_call>",
)
LFM2 = _format(  # LFM2, LFM2.5
    "lfm2",
    r"<\|tool_call_start\|>",
    r"<\|tool_call_start\|>\s*\[?\s*(?P<name>[\w.]+)\(",
    (_python_body, _python),
    r"\s*\]?\s*<\|tool_call_end\|>|\s*(?=,)",
    r"\s*,\s*(?P<name>[\w.]+)\(",
)
OLMO = _format(  # Olmo 3: a line a call
    "olmo",
    "<function_calls>",
    r"<function_calls>\s*(?P<name>[\w.]+)\(",
    (_python_body, _python),
    r"\s*</function_calls>|\s*(?=[\w.]+\()",
    r"\s*(?P<name>[\w.]+)\(",
)
