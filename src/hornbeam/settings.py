"""The base of all settings: frozen, and an unknown key is an error."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from hornbeam.errors import RecipeError, SettingError

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass as _Meta
else:
    _Meta = type(BaseModel)  # that of the installed pydantic, wherever it keeps it


class _ByName(_Meta):
    """Makes settings from Python; what cannot be is told in one line, as `SettingError`."""

    def __call__(cls, *values: Any, **named: Any) -> Any:
        model: Any = cls
        if values:
            example = next(iter(model.model_fields), "")
            how = f"as in {cls.__name__}({example}=...)" if example else "and it has none"
            raise SettingError(f"{cls.__name__} takes settings by name, {how}")
        try:
            return super().__call__(**named)
        except ValidationError as error:
            raise SettingError(_line(error, model, cls.__name__)) from error


class Settings(BaseModel, metaclass=_ByName):
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
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise RecipeError(_line(error, model, f"{kind} {name!r}")) from error


def _line(error: ValidationError, model: type[BaseModel], what: str) -> str:
    """The first complaint about settings that `what` names."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        hint = nearest(key, model.model_fields) if model.model_fields else "it takes none"
        return f"{what} has no setting {key!r}: {hint}"
    if first["type"] == "missing":
        return f"{what} needs a setting {key!r}"
    told = f"{key} = {first['input']!r}: " if key else ""
    return f"{what}: {told}{first['msg'].removeprefix('Value error, ')}"


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for a message: the known name nearest to this one, or all of them."""
    names = sorted(known)
    close = get_close_matches(name, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names)}"


def digest(what: Any) -> str:
    """Six letters that tell settings apart."""
    text = json.dumps(what, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=3).hexdigest()
