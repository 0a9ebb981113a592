"""How families of models write tool calls and reasoning: readers of an answer's text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hornbeam.chat.tool_calls import Spoken, ToolCall, numbered_id

BLANKS = " \t\n\r"


class Found(NamedTuple):
    """One call in a text: what was read, and where it begins and ends."""

    name: str
    arguments: dict[str, Any]
    raw: str
    problem: str
    start: int
    stop: int


class JsonMember(NamedTuple):
    """One value of a JSON object, and where it stands in the text."""

    value: Any
    start: int
    stop: int


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"the number {text[:20]} is too large")
    return value


_decoder = json.JSONDecoder(parse_constant=_constant, parse_float=_float)


def value_at(text: str, at: int) -> JsonMember:
    """The JSON value that begins at a place. `ValueError` where there is none that can be kept."""
    at = _blank(text, at)
    try:
        value, stop = _decoder.raw_decode(text, at)
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError("half a character (a lone surrogate)") from error
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    return JsonMember(value, at, stop)


def members_at(text: str, at: int) -> tuple[dict[str, JsonMember], int]:
    """(the members of the JSON object that begins at a place, where it ends).

    Of two members with one name the last counts. `ValueError` where it is no object.
    """
    whole = value_at(text, at)
    if not isinstance(whole.value, dict):
        raise ValueError("it is no object")
    out = dict[str, JsonMember]()
    at = _blank(text, whole.start + 1)
    while text[at] != "}":
        name = value_at(text, at)
        out[name.value] = found = value_at(text, _blank(text, name.stop) + 1)
        at = _blank(text, found.stop)
        at = _blank(text, at + 1) if text[at] == "," else at
    return out, whole.stop


def _blank(text: str, at: int) -> int:
    while at < len(text) and text[at] in BLANKS:
        at += 1
    return at


def json_call(text: str, at: int, keys: Sequence[str] = ("arguments", "parameters")) -> Found:
    """The call in the JSON object at a place. `ValueError` where there is no object."""
    members, stop = members_at(text, at)
    start = _blank(text, at)
    name = members.get("name")
    held = next((members[key] for key in keys if key in members), None)
    raw = text[held.start : held.stop] if held else "{}"
    if name is None or not isinstance(name.value, str) or not name.value:
        return Found("", {}, raw, "the call has no name", start, stop)
    if held is not None and not isinstance(held.value, dict):
        return Found(name.value, {}, raw, "the arguments are no JSON object", start, stop)
    return Found(name.value, held.value if held else {}, raw, "", start, stop)


OPENS, CLOSES = "<tool_call>", "</tool_call>"


def hermes(text: str) -> list[Found]:
    """Calls as JSON between tags: Hermes, Qwen2.5, Qwen3.

    What stands between the tags is read as JSON, so a text in it may hold tags.
    """
    out, at = list[Found](), 0
    while (start := text.find(OPENS, at)) >= 0:
        try:
            call = json_call(text, start + len(OPENS))
            at = _blank(text, call.stop)
            at += len(CLOSES) if text.startswith(CLOSES, at) else 0
        except ValueError as error:
            end = text.find(CLOSES, start)
            at = len(text) if end < 0 else end + len(CLOSES)
            raw = text[start + len(OPENS) : len(text) if end < 0 else end].strip()
            cut = "the call is cut off, or its JSON is broken" if end < 0 else "broken JSON"
            call = Found("", {}, raw, f"{cut}: {error}", start, at)
        out.append(call._replace(start=start, stop=at))
    return out


def thought_of(text: str, opens: str = "<think>", closes: str = "</think>") -> tuple[str, str]:
    """(reasoning, the rest) of an answer; all is the rest where it closes no thought and opens
    none.
    """
    before, closed, rest = text.partition(closes)
    begun = before.lstrip().removeprefix(opens)
    if not closed and begun == before.lstrip():
        return "", text
    return begun.strip("\n"), rest.lstrip("\n")


def read_hermes(text: str, tokens: Sequence[int]) -> Spoken:
    """An answer with calls as `hermes` has them, and perhaps a thought in front."""
    reasoning, rest = thought_of(text)
    found = hermes(rest)
    calls = tuple(
        ToolCall(numbered_id(tokens, n), call.name, call.arguments, call.raw, call.problem)
        for n, call in enumerate(found)
    )
    if not calls:
        return Spoken(rest, reasoning)
    kept, at = "", 0
    for call in found:
        kept, at = kept + rest[at : call.start], call.stop
    return Spoken((kept + rest[at:]).strip(), reasoning, calls)


def written(message: Mapping[str, Any]) -> str:
    """A message's text with its calls behind it, as `hermes` reads them."""
    reasoning, text = message.get("reasoning_content") or "", message["content"] or ""
    out = f"<think>\n{reasoning}\n</think>\n\n{text}" if reasoning else text
    for call in message.get("tool_calls") or ():
        held = call.get("function", call)
        arguments = held.get("arguments")
        if not isinstance(arguments, str):
            arguments = json.dumps(arguments, ensure_ascii=False)
        name = json.dumps(held.get("name", ""), ensure_ascii=False)
        out += f'\n{OPENS}\n{{"name": {name}, "arguments": {arguments}}}\n{CLOSES}'
    return out.removeprefix("\n")
