"""JSON as RFC 8259 has it, both ways: Python's own reads and writes NaN and infinities too."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

SPELT = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def parse_json(text: str | bytes) -> Any:
    """The value of a text. Raises `ValueError` in words, for what is nested too deep too."""
    return _parsed(text, _refused)


def parse_foreign(text: str | bytes) -> Any:
    """The same of a file of another library: NaN and infinities, which are no JSON, are null."""
    return _parsed(text, lambda name: None)


def _parsed(text: str | bytes, constant: Any) -> Any:
    try:
        return json.loads(text, parse_constant=constant)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def _refused(name: str) -> Any:
    raise ValueError(f"{name} is no JSON: write null, or leave it out")


def spelled(value: Any) -> Any:
    """JSON data with NaN and infinities as the texts "NaN", "Infinity" and "-Infinity"."""
    if isinstance(value, float) and not math.isfinite(value):
        return SPELT[str(value)]
    if isinstance(value, Mapping):
        return {key: spelled(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [spelled(each) for each in value]
    return value
