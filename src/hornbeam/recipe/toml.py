"""Recipes: TOML to frozen settings and back; every mistake is one line that names the place.

    settings = parse(Recipe, override(read_toml(path), ["grow.trunks=4"]), str(path))
    print(show(settings))

Types are strict, as TOML has types of its own: "2" is no number and 1.0 is no whole number.

Left out: which settings a recipe has (run), and registries of settings by name (settings.build).
"""

from __future__ import annotations

import copy
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from hornbeam.errors import RecipeError
from hornbeam.settings import Settings, expectation, led, models_in, names_at, nearest

S = TypeVar("S", bound=Settings)


def read_toml(path: str | Path) -> dict[str, Any]:
    """The data of a TOML file. Raises `RecipeError` with the line where it is none."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: cannot be read: not UTF-8: {error.reason}") from error
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path}: not TOML: {error}") from error


# --- changes from the command line ---------------------------------------------------------------


def override(data: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """A copy of the data with "a.b.c=value" applied in order.

    Values are TOML, and bare words are strings; an entry of a list goes by its number
    ("tasks.train.0.count=20"). Missing tables are made.
    """
    out: dict[str, Any] = copy.deepcopy(dict(data))
    for change in changes:
        path, sign, text = change.partition("=")
        keys = [key.strip() for key in path.split(".")]
        if not sign or not all(keys):
            raise RecipeError(f"--set {change}: write it as key=value, as in --set grow.trunks=4")
        _put(out, keys, toml_value(text.strip()), change)
    return out


def toml_value(text: str) -> Any:
    """What stands behind the sign of `--set key=value`: a TOML value, else a bare text."""
    try:
        found = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return found["value"] if len(found) == 1 else text


def _put(here: Any, keys: Sequence[str], value: Any, change: str) -> None:
    for depth, key in enumerate(keys):
        place = ".".join(keys[:depth])
        last = depth == len(keys) - 1
        at: int | str = key
        if isinstance(here, list):
            if not key.isdecimal() or int(key) >= len(here):
                known = f"0 to {len(here) - 1}" if here else "it is empty"
                raise RecipeError(f"--set {change}: list {place!r} has no entry {key!r}: {known}")
            at = int(key)
        elif not isinstance(here, dict):
            raise RecipeError(f"--set {change}: {place!r} is {_brief(here)}, not a table")
        if last:
            here[at] = value
        else:
            here = here.setdefault(at, {}) if isinstance(here, dict) else here[at]


# --- data to settings ----------------------------------------------------------------------------


def parse(model: type[S], data: Mapping[str, Any], where: str) -> S:
    """The settings that the data stand for. Raises a `RecipeError` of one line, about one key."""
    try:
        text = json.dumps(data, default=str)  # JSON has lists only, so a list fits a tuple
        return model.model_validate_json(text, strict=True)
    except ValidationError as error:
        problems = _problems(error, data)
        raise RecipeError(f"{where}: {_line(problems, model)}") from error
    except RecipeError as error:  # of a validator that looks up a name
        raise RecipeError(f"{where}: {error}") from error


class _Problem:
    """One of pydantic's complaints: `path` in the data, `tags` the members of unions it tried."""

    def __init__(self, error: Mapping[str, Any], data: Any) -> None:
        self.kind, self.loc, self.message = str(error["type"]), error["loc"], str(error["msg"])
        self.context, self.input = error.get("ctx", {}), error["input"]
        self.path: list[str] = []
        self.tags: list[str] = []
        for i, part in enumerate(self.loc):
            inside = part in data if isinstance(data, dict) else False
            if isinstance(data, list):
                inside = isinstance(part, int) and part < len(data)
            absent = self.kind == "missing" and i == len(self.loc) - 1
            (self.path if inside or absent else self.tags).append(str(part))
            data = data[part] if inside else data


def _problems(error: ValidationError, data: Any) -> list[_Problem]:
    """The complaints about one key, the most telling one: a wrong name before a wrong value."""
    found = [_Problem(each, data) for each in error.errors(include_url=False)]
    other = {  # members of a union that a literal key says were not meant
        tuple(p.tags) for p in found if p.kind == "literal_error" and p.tags and p.loc[-1] in p.path
    }
    meant = [p for p in found if tuple(p.tags) not in other] or found
    first = next((p for p in meant if p.kind == "extra_forbidden"), meant[0])
    return [p for p in meant if p.path == first.path and (p.kind == first.kind or p.tags)]


def _line(problems: Sequence[_Problem], model: type[BaseModel]) -> str:
    first = problems[0]
    table, key = ".".join(first.path[:-1]), first.path[-1] if first.path else ""
    place = f"[{table}] " if table else ""
    if first.kind == "extra_forbidden":
        known = {name for p in problems for name in names_at(model, p.loc[:-1])}
        hint = _elsewhere(first.path, known, model) or (
            nearest(key, known) if known else "it takes none"
        )
        return f"{place}has no key {key!r}: {hint}" if place else f"no key {key!r}: {hint}"
    if first.kind == "missing":
        return f"{place}needs key {key!r}" if place else f"key {key!r} is missing"
    if first.kind == "union_tag_not_found":
        inner = ".".join(first.path)
        return f"[{inner}] needs key {first.context['discriminator']}"
    if first.kind == "union_tag_invalid":
        name, tag = first.context["discriminator"].strip("'"), first.context["tag"]
        tags = re.findall(r"'([^']*)'", first.context["expected_tags"])
        return f"[{'.'.join(first.path)}] {name} = {tag!r}: {nearest(tag, tags)}"
    if first.kind in ("value_error", "assertion_error"):
        message = first.message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
        return led(".".join(first.path), message)
    text = f"{place}{key} = {_brief(first.input)}" if key else _brief(first.input)
    words = (expectation(p.kind, p.message, p.context, p.input) for p in problems)
    expected = " or ".join(dict.fromkeys(words))
    return f"{text}: expected {expected}"


def _elsewhere(path: Sequence[str], known: set[str], model: type[BaseModel]) -> str:
    """A hint where keys of other tables are nearer to this one than those that are `known` here."""
    places: dict[str, list[str]] = {}
    for table in set(model.model_fields) - {path[0]}:
        inside = models_in(model.model_fields[table].annotation)
        for name in {name for inner in inside for name in inner.model_fields}:
            places.setdefault(name, []).append(f"[{table}]")
    near = get_close_matches(path[-1], sorted(known.union(places)), n=1)
    if not near or near[0] in known or get_close_matches(path[-1], known, n=1, cutoff=0.75):
        return ""
    return f"did you mean {near[0]!r} of {' or '.join(sorted(places[near[0]]))}?"


def _brief(value: Any) -> str:
    if isinstance(value, dict):
        return "a table"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


# --- settings to TOML ----------------------------------------------------------------------------


def show(settings: Settings) -> str:
    """The settings as TOML, all defaults written out; what is `None` (not set) is left out."""
    return to_toml(settings.model_dump(mode="json"))


def to_toml(data: Mapping[str, Any]) -> str:
    """JSON-like data as TOML text: plain values before tables; keys that are `None` left out."""
    return "\n".join(_table(data, [])).strip() + "\n"


def _table(data: Mapping[str, Any], path: list[str]) -> Iterator[str]:
    given = {key: value for key, value in data.items() if value is not None}
    for key, value in given.items():
        if not isinstance(value, Mapping) and not _is_tables(value):
            yield f"{_name(key)} = {_inline(value)}"
    for key, value in given.items():
        inner = [*path, _name(key)]
        if isinstance(value, Mapping):
            if not _only_tables(value):
                yield f"\n[{'.'.join(inner)}]"
            yield from _table(value, inner)
        elif _is_tables(value):
            for entry in value:
                yield f"\n[[{'.'.join(inner)}]]"
                yield from _table(entry, inner)


def _only_tables(table: Mapping[str, Any]) -> bool:
    """Whether a table needs no header of its own: each of its values has one."""
    given = [value for value in table.values() if value is not None]
    return bool(given) and all(isinstance(v, Mapping) or _is_tables(v) for v in given)


def _is_tables(value: Any) -> bool:
    return (
        isinstance(value, (list, tuple))
        and bool(value)
        and all(isinstance(entry, Mapping) for entry in value)
    )


def _inline(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):  # JSON's escapes are TOML's, but for the delete character
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        pairs = (f"{_name(k)} = {_inline(v)}" for k, v in value.items() if v is not None)
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_inline(entry) for entry in value) + "]"
    raise RecipeError(f"{value!r} cannot be written as TOML")


def _name(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _inline(key)
