"""Families that write the arguments of calls as JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hornbeam.chat.call_scan import Body, CallFormat, ReadBody, Schemas
from hornbeam.chat.json_spans import members_at, value_at

NO_OBJECT = "the arguments are no JSON object"


def json_arguments(raw: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The object that arguments are. `ValueError` where they are none."""
    found = value_at(raw)
    if not isinstance(found.value, dict) or raw[found.stop :].strip():
        raise ValueError(NO_OBJECT)
    return found.value


def _object(text: str, at: int, name: str, schemas: Schemas) -> Body:
    """The arguments alone: the name stood before them."""
    found = value_at(text, at)
    raw = text[found.start : found.stop]
    if not isinstance(found.value, dict):
        return name, {}, raw, NO_OBJECT, found.stop
    return name, found.value, raw, "", found.stop


def _named(names: tuple[str, ...], keys: tuple[str, ...]) -> ReadBody:
    """An object with a name and arguments, each under one of these keys."""

    def read(text: str, at: int, name: str, schemas: Schemas) -> Body:
        members, stop = members_at(text, at)
        told = next((members[key] for key in names if key in members), None)
        held = next((members[key] for key in keys if key in members), None)
        raw = text[held.start : held.stop] if held else "{}"
        if told is None or not isinstance(told.value, str) or not told.value:
            return "", {}, raw, "the call has no name", stop
        if held is not None and not isinstance(held.value, dict):
            return told.value, {}, raw, NO_OBJECT, stop
        return told.value, held.value if held else {}, raw, "", stop

    return read


def _single(text: str, at: int, name: str, schemas: Schemas) -> Body:
    """An object whose one member is the call: its name, its arguments."""
    members, stop = members_at(text, at)
    if len(members) != 1:
        return "", {}, text[at:stop], 'a call is {"name": {arguments}}', stop
    ((name, held),) = members.items()
    raw = text[held.start : held.stop]
    if not isinstance(held.value, dict):
        return name, {}, raw, NO_OBJECT, stop
    return name, held.value, raw, "", stop


def _format(
    name: str, begins: str, opens: str, body: ReadBody, closes: str, joins: str = ""
) -> CallFormat:
    return CallFormat(
        name,
        re.compile(begins),
        re.compile(opens),
        body,
        re.compile(closes),
        json_arguments,
        re.compile(joins) if joins else None,
    )


USUAL = _named(("name",), ("arguments", "parameters"))
ACTION = _named(("tool_name", "name"), ("parameters", "arguments"))

HERMES = _format(  # Hermes, Qwen2.5, Qwen3, Granite 4
    "hermes", "<tool_call>", r"<tool_call>\s*(?=\{)", USUAL, r"\s*</tool_call>|(?=\Z)"
)
LLAMA3 = _format(  # Llama 3.1, 3.2, 3.3: the whole answer is a call, or several between semicolons
    "llama3",
    r"<\|python_tag\|>(?=\s*\{)|\A\s*(?=\{\s*\"(?:name|type|function)\")",
    r"(?:<\|python_tag\|>)?\s*(?=\{)",
    _named(("name",), ("parameters", "arguments")),
    r"\s*(?=;|\Z)",
    r"\s*;\s*(?=\{)",
)
MISTRAL_LIST = _format(  # 7B v0.3, Nemo, Small 2409: a list
    "mistral_list",
    r"\[TOOL_CALLS\]",
    r"\[TOOL_CALLS\]\s*\[\s*(?=\{)",
    USUAL,
    r"\s*\]|\s*(?=,)",
    r"\s*,\s*(?=\{)",
)
MISTRAL = _format(  # Small 3.2, Magistral, Devstral, Ministral 3: a mark, the name, arguments
    "mistral",
    r"\[TOOL_CALLS\]",
    r"\[TOOL_CALLS\](?P<name>[^\[\]{}]+?)(?:\[CALL_ID\](?P<id>\w+))?(?:\[ARGS\])?\s*(?=\{)",
    _object,
    "",
)
DEEPSEEK_FENCED = _format(  # V3, R1 and its distilled ones
    "deepseek_fenced",
    "(?:<｜tool▁calls▁begin｜>)?<｜tool▁call▁begin｜>",
    r"(?:<｜tool▁calls▁begin｜>)?<｜tool▁call▁begin｜>\w*<｜tool▁sep｜>(?P<name>[^\n]+)\n```json\s*",
    _object,
    r"\s*```\s*<｜tool▁call▁end｜>\s*(?:<｜tool▁calls▁end｜>)?",
)
DEEPSEEK = _format(  # V3.1
    "deepseek",
    "(?:<｜tool▁calls▁begin｜>)?<｜tool▁call▁begin｜>",
    r"(?:<｜tool▁calls▁begin｜>)?<｜tool▁call▁begin｜>(?P<name>[^\n<]+)<｜tool▁sep｜>\s*",
    _object,
    r"\s*<｜tool▁call▁end｜>\s*(?:<｜tool▁calls▁end｜>)?",
)
KIMI = _format(  # K2: the id that the model writes holds the name
    "kimi",
    r"(?:<\|tool_calls_section_begin\|>\s*)?<\|tool_call_begin\|>",
    r"(?:<\|tool_calls_section_begin\|>\s*)?<\|tool_call_begin\|>\s*"
    r"(?P<id>(?:functions\.)?(?P<name>[^\s:<]+)(?::\d+)?)\s*<\|tool_call_argument_begin\|>\s*",
    _object,
    r"\s*<\|tool_call_end\|>\s*(?:<\|tool_calls_section_end\|>)?",
)
HARMONY = _format(  # GPT-OSS
    "harmony",
    r"(?:<\|start\|>assistant)?(?:<\|channel\|>commentary)?\s*to=functions\.",
    r"(?:<\|start\|>assistant)?(?:<\|channel\|>commentary)?\s*to=functions\.(?P<name>[\w.-]+)"
    r"\s*(?:<\|channel\|>commentary)?\s*(?:<\|constrain\|>)?\s*(?:json)?\s*<\|message\|>\s*",
    _object,
    r"\s*<\|(?:call|end)\|>|\s*(?=\Z|<\|start\|>)",
)
PHI4 = _format(  # Phi-4-mini, Granite 3
    "phi4",
    r"<\|tool_call\|>",
    r"<\|tool_call\|>\s*\[?\s*(?=\{)",
    USUAL,
    r"\s*\]?\s*<\|/tool_call\|>|\s*\]\s*\Z|\s*(?=,|\Z)",
    r"\s*,\s*(?=\{)",
)
COHERE = _format(  # Command R7B and later
    "cohere",
    r"<\|START_ACTION\|>",
    r"<\|START_ACTION\|>\s*\[\s*(?=\{)",
    ACTION,
    r"\s*\]\s*(?:<\|END_ACTION\|>)?|\s*(?=,)",
    r"\s*,\s*(?=\{)",
)
APERTUS = _format(
    "apertus",
    r"<\|tools_prefix\|>",
    r"<\|tools_prefix\|>\s*\[\s*(?=\{)",
    _single,
    r"\s*\]\s*(?:<\|tools_suffix\|>)?|\s*(?=,)",
    r"\s*,\s*(?=\{)",
)
TAGGED_LIST = _format(  # Nemotron Nano, Apriel, Jamba
    "tagged_list",
    "<(?:tool_calls|TOOLCALL)>",
    r"<(?:tool_calls|TOOLCALL)>\s*\[\s*(?=\{)",
    USUAL,
    r"\s*\]\s*</(?:tool_calls|TOOLCALL)>|\s*(?=,)",
    r"\s*,\s*(?=\{)",
)
FUNCTION_TAG = _format(  # Functionary, Kanana
    "function_tag",
    "<function=",
    r"<function=(?P<name>[^>\n]+)>\s*(?=\{)",
    _object,
    r"\s*</function>",
)
