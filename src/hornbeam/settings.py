"""The base of all settings: frozen, and an unknown key is an error."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from hornbeam.errors import RecipeError


class Settings(BaseModel):
    """Frozen settings; unknown keys and wrong types are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


S = TypeVar("S", bound=Settings)


def build(kind: str, known: Mapping[str, type[S]], name: str, values: Mapping[str, Any]) -> S:
    """The settings registered as `name`, with these values.

    `kind` says in messages what the names are ("credit method"). Raises `RecipeError` naming the
    nearest known name or setting.
    """
    if name not in known:
        raise RecipeError(f"unknown {kind} {name!r}: {nearest(name, known)}")
    model = known[name]
    try:
        return model(**values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            hint = nearest(key, model.model_fields) if model.model_fields else "it takes none"
            raise RecipeError(f"{kind} {name!r} has no setting {key!r}: {hint}") from error
        if first["type"] == "missing":
            raise RecipeError(f"{kind} {name!r} needs a setting {key!r}") from error
        told = f"{key} = {first['input']!r}: " if key else ""
        message = first["msg"].removeprefix("Value error, ")
        raise RecipeError(f"{kind} {name!r}: {told}{message}") from error


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for a message: the known name nearest to this one, or all of them."""
    names = sorted(known)
    close = get_close_matches(name, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names)}"


def digest(what: Any) -> str:
    """Six letters that tell settings apart."""
    text = json.dumps(what, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=3).hexdigest()
