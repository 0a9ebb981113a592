"""Fields of what servers say, as they may be told: left out, null, of another type, as text.

What cannot be read is `None`, and so as good as not told.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator


def whole(value: Any) -> int | None:
    """A count or an id, from a number or its text; None for anything else."""
    found = real(value)
    return int(found) if found is not None and found == int(found) and 0 <= found < 2**31 else None


def real(value: Any) -> float | None:
    """A finite number, from a number or its text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def text(value: Any) -> str | None:
    """A text, its parts joined, without halves of surrogate pairs; None for anything else."""
    if isinstance(value, list):
        parts = [part.get("text") if isinstance(part, dict) else part for part in value]
        return text("".join(part for part in parts if isinstance(part, str)))
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        return None
    try:
        value.encode()
    except UnicodeEncodeError:  # has no ids, and cannot be kept
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


def wholes(value: Any) -> list[int] | None:
    """A list of ids; None where one of them cannot be read."""
    found = [whole(each) for each in value] if isinstance(value, list) else [None]
    return None if None in found else [each for each in found if each is not None]


def reals(value: Any) -> list[float] | None:
    """A list of numbers; None where one of them cannot be read."""
    found = [real(each) for each in value] if isinstance(value, list) else [None]
    return None if None in found else [each for each in found if each is not None]


def objects(value: Any) -> list[Any]:
    """The objects of a list, or the only one that stands in its place."""
    listed = value if isinstance(value, list) else [value]
    return [each for each in listed if isinstance(each, dict)]


Whole = Annotated[int | None, BeforeValidator(whole)]
Real = Annotated[float | None, BeforeValidator(real)]
Text = Annotated[str | None, BeforeValidator(text)]
Wholes = Annotated[list[int] | None, BeforeValidator(wholes)]
Reals = Annotated[list[float] | None, BeforeValidator(reals)]


class ApiObject(BaseModel):
    """An object of the API; what is no object tells nothing."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _object(cls, value: Any) -> Any:
        return value if isinstance(value, dict) else {}
