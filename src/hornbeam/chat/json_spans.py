"""JSON in a text, with the place of each value: arguments of calls are kept as they were written.

Stricter than Python's reader, as what is read is written to files: no NaN, no infinite number, no
half of a character.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

BLANKS = " \t\n\r"


class JsonMember(NamedTuple):
    """One value, and where it stands in the text."""

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


def value_at(text: str, at: int = 0) -> JsonMember:
    """The value that begins at a place, or behind blanks there. `ValueError` where none can be."""
    at = skip(text, at)
    try:
        value, stop = _decoder.raw_decode(text, at)
        json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        near = text[error.pos : error.pos + 20]
        raise ValueError(f"{error.msg}, at {near!r}" if near else "it is cut off") from error
    except UnicodeEncodeError as error:
        raise ValueError("half a character (a lone surrogate)") from error
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    return JsonMember(value, at, stop)


def members_at(text: str, at: int = 0) -> tuple[dict[str, JsonMember], int]:
    """(the members of the object that begins at a place, where it ends).

    Of two members with one name the last counts. `ValueError` where it is no object.
    """
    whole = value_at(text, at)
    if not isinstance(whole.value, dict):
        raise ValueError("it is no object")
    out = dict[str, JsonMember]()
    at = skip(text, whole.start + 1)
    while text[at] != "}":
        name = value_at(text, at)
        out[name.value] = found = value_at(text, skip(text, name.stop) + 1)
        at = skip(text, found.stop)
        at = skip(text, at + 1) if text[at] == "," else at
    return out, whole.stop


def skip(text: str, at: int) -> int:
    """The first place from there on that is no blank."""
    while at < len(text) and text[at] in BLANKS:
        at += 1
    return at
