"""The base of all settings: frozen, and an unknown key is an error."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from hornbeam.errors import RecipeError, SettingError, UnknownSetting

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
            raise SettingError(str(_wrong(cls.__name__, model, error))) from error


class Settings(BaseModel, metaclass=_ByName):
    """Frozen settings; unknown keys and wrong types are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class VersionedSettings(Settings):
    """Settings that later versions add to: what was stored before is found again."""

    later: ClassVar[Mapping[str, Any]] = MappingProxyType({})  # settings that came later, as it was

    def identity(self) -> dict[str, Any]:
        """All settings by which stored trees are told from those of others.

        One of `later` is left out where it stands as it was before: so trees of then are found.
        """
        data = self.model_dump()
        return {k: v for k, v in data.items() if k not in self.later or v != self.later[k]}

    def before(self) -> Self:
        """What the settings that were given meant before there were those of `later`."""
        unsaid = {k: v for k, v in self.later.items() if k not in self.model_fields_set}
        return self.model_copy(update=unsaid)


S = TypeVar("S", bound=Settings)

EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "a string",
    "list": "a list",
    "tuple": "a list",
    "set": "a list",
    "dict": "a table",
    "model": "a table",
    "none": "nothing",
}


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
        raise _elsewhere(kind, known, _wrong(f"{kind} {name!r}", model, error)) from error


def _elsewhere(kind: str, known: Mapping[str, type[S]], error: RecipeError) -> RecipeError:
    """Names who has a setting that this one has not."""
    if not isinstance(error, UnknownSetting) or "did you mean" in str(error):
        return error
    key = error.unknown[0]
    others = sorted(name for name, model in known.items() if key in model.model_fields)
    if not others:
        return error
    text = f"{error}; {kind} {' and '.join(map(repr, others))} {'have' if others[1:] else 'has'} it"
    return UnknownSetting(text, error.unknown, error.known)


def _wrong(what: str, model: type[BaseModel], error: ValidationError) -> RecipeError:
    """What a person is told: unknown keys first, for a misspelt one is missing elsewhere."""
    found = error.errors()
    strange = [e["loc"] for e in found if e["type"] == "extra_forbidden"]
    if strange:
        keys = [str(loc[-1]) for loc in strange if loc[:-1] == strange[0][:-1]]
        inside = ".".join(map(str, strange[0][:-1]))
        where = f"{what}: {inside}" if inside else what
        known = names_at(model, strange[0][:-1])
        hint = nearest(keys[0], known) if known else "it takes none"
        return UnknownSetting(f"{where} has no setting {keys[0]!r}: {hint}", keys, known)
    first = found[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return RecipeError(f"{what} needs a setting {key!r}")
    if first["type"] in ("value_error", "assertion_error"):
        message = first["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
        return RecipeError(f"{what}: {led(key, message)}")
    expected = expectation(first["type"], first["msg"], first.get("ctx", {}), first["input"])
    text = f"{key} = {first['input']!r}: " if key else ""
    return RecipeError(f"{what}: {text}expected {expected}")


def expectation(kind: str, message: str, context: Mapping[str, Any], given: Any) -> str:
    """What pydantic expected, in words; a name that is nearly one of those expected is told."""
    if kind == "literal_error":
        text = str(context["expected"])
        if isinstance(given, str):
            close = nearest(given, re.findall(r"'([^']*)'", text))
            text += f" ({close})" if close.startswith("did") else ""
        return text
    word = kind.split("_")[0]
    if word in EXPECTED and kind.endswith(("_type", "_parsing", "_from_float")):
        return EXPECTED[word]
    message = message.removeprefix("Input should be ").removeprefix("Input should ")
    return message[0].lower() + message[1:]


def led(place: str, message: str) -> str:
    """A message behind the place that it is about, which it may begin with itself.

    >>> led("label", "label.most: too much"), led("agents.a.segment", "segment.regex: no")
    ('label.most: too much', 'agents.a.segment.regex: no')
    """
    last = place.rpartition(".")[2]
    if place and re.match(rf"{re.escape(last)}(\.|:| =)", message):
        return place + message.removeprefix(last)
    return f"{place}: {message}" if place else message


@contextmanager
def led_by(place: str) -> Iterator[None]:
    """Puts the place of a recipe that is looked at before what is wrong there."""
    try:
        yield
    except UnknownSetting as error:
        raise UnknownSetting(f"{place}: {error}", error.unknown, error.known) from error
    except RecipeError as error:
        raise RecipeError(f"{place}: {error}") from error


def names_at(model: type[BaseModel], place: Sequence[Any]) -> set[str]:
    """Names of the fields that the settings at this place of the model have."""
    here = [model]
    for part in place:
        fields = [m.model_fields[part] for m in here if part in m.model_fields]
        if fields:
            here = [inner for field in fields for inner in models_in(field.annotation)]
        else:  # a list's or table's entry, or the member of a union
            here = [m for m in here if part == m.__name__ or part in _literals(m)] or here
    return {name for m in here for name in m.model_fields}


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """All settings that an annotation holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from models_in(inner)


def _literals(model: type[BaseModel]) -> set[Any]:
    return {value for f in model.model_fields.values() for value in get_args(f.annotation)}


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for a message: the known name nearest to this one, or all of them."""
    names = sorted(known)
    swapped = [each for each in names if sorted(each) == sorted(name)]
    close = swapped or get_close_matches(name, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names)}"


def digest(what: Any) -> str:
    """Six letters that tell settings apart."""
    text = json.dumps(what, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=3).hexdigest()
