"""From the arguments of a call to a recipe: sections as dicts or settings, objects by their names.

    train(solver, tasks, strategy=Branch(trunks=4), run={"steps": 20})

is the recipe with `program.name` = "solvers.py:solver", `grow.strategy` = "branch" and so on. What
is no text stands there by the name of `object_names`, tasks of a list in a file beside it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from pydantic import BaseModel

from hornbeam.api.task_arguments import sources_of
from hornbeam.api.tool_arguments import tool_of
from hornbeam.arguments import described, function, is_async, mapping, wrong
from hornbeam.credit import methods
from hornbeam.errors import ArgumentError, StoreError
from hornbeam.files.atomic import whole_file
from hornbeam.files.paths import GIVEN_FILES
from hornbeam.own.object_names import is_code, name_of
from hornbeam.programs import programs
from hornbeam.recipe import toml
from hornbeam.recipe.recipe import Recipe
from hornbeam.search import strategies
from hornbeam.settings import nearest
from hornbeam.worlds import worlds

Section = Mapping[str, Any] | BaseModel | None
PROGRAM = (
    "a program: an async function of a task and an episode, a ready-made name, or file.py:name"
)
# Arguments that are not called as their section, and what they are a key of.
OTHERS = {"strategy": "grow", "methods": "search", "label_strategy": "label"}
# Keys of [run] that calls have as arguments of their own.
RUN = ("steps", "seed", "title", "device")


class Sections(TypedDict, total=False):
    """Sections of a recipe that a call may be given besides its own arguments."""

    run: Section
    lora: Section
    policies: Mapping[str, Section]
    agents: Mapping[str, Section]
    limits: Section
    stages: Sequence[Section]
    anchor: Section
    loss: Section
    optim: Section
    sft: Section
    world: Any
    state: Section
    budget: Section
    engine: Section
    workers: Section
    guides: Mapping[str, Section]
    sinks: Mapping[str, Section]
    search: Section
    serve: Mapping[str, Section]
    label: Section
    chunks: Section
    fit: Section
    steps: int
    seed: int
    title: str
    device: str


@dataclass(frozen=True, slots=True)
class PythonRecipe:
    """A recipe made of arguments: its data as they stand in TOML, and files that lie beside it."""

    data: dict[str, Any]
    recipe: Recipe
    files: dict[str, str]  # name -> text

    def at(self, base: Path) -> Recipe:
        """The recipe as if it had been read from a file of this folder."""
        self.recipe._base, self.recipe._commands = base.resolve(), Path.cwd()
        return self.recipe

    def write_files(self, folder: Path) -> None:
        """Write the files that lie beside it. `StoreError` where a run began with others."""
        for name, text in self.files.items():
            path = folder / name
            if path.is_file() and path.read_text("utf-8") == text:
                continue
            if (folder / "run.db").exists():
                raise StoreError(
                    f"{folder}: this run began with other tasks ({name}): choose another out, or"
                    " give those again"
                )
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with whole_file(path) as stream:
                    stream.write(text)
            except OSError as error:
                raise StoreError(f"{path}: cannot be written: {error.strerror or error}") from error


def recipe_from(
    where: str, given: Mapping[str, Any], base: Path | None = None, name: Any = name_of
) -> PythonRecipe:
    """The recipe that the arguments of `where` stand for; those that are None are not given.

    Paths of code are told from `base` where they lie below it. Raises `ArgumentError` and
    `RecipeError` of one line.
    """
    given = {key: value for key, value in given.items() if value is not None}
    data: dict[str, Any] = {}
    files: dict[str, str] = {}
    known = {*Sections.__annotations__, *Recipe.model_fields, *OTHERS, "eval_tasks"} - {"grow"}
    parts: dict[str, Any] = {}
    for key, value in given.items():
        if key not in known:
            hint = _section_with(key) or nearest(key, known)
            raise ArgumentError(f"{where} has no argument {key!r}: {hint}")
        if key in ("tasks", "eval_tasks"):
            part = "train" if key == "tasks" else "eval"
            entries, lines = sources_of(value, part, f"{where}: {key}")
            data.setdefault("tasks", {})[part] = entries
            files |= {f"{GIVEN_FILES}/{part}.jsonl": lines} if lines else {}
        elif key not in RUN:
            naming = _Naming(f"{where}: {key}", base, name)
            made = getattr(naming, key, naming.plain)(value)
            if key in OTHERS:
                parts.setdefault(OTHERS[key], {}).update(made)
            else:
                data[key] = made
    parts["run"] = {key: given[key] for key in RUN if key in given}
    for section, more in parts.items():
        if twice := sorted(set(more) & set(data.get(section) or {})):
            raise ArgumentError(
                f"{where}: {twice[0]} is given twice, as an argument and in {section}"
            )
        if more:
            data[section] = {**(data.get(section) or {}), **more}
    return PythonRecipe(data, toml.parse(Recipe, data, where), files)


@dataclass(frozen=True, slots=True)
class _Naming:
    """Turns one argument into what stands in a recipe; methods are called as the arguments."""

    where: str
    base: Path | None
    name: Any

    def plain(self, value: Any) -> Any:
        """Settings and dicts as tables, functions and classes by their names."""
        if isinstance(value, BaseModel):
            return value.model_dump(mode="json", exclude_unset=True)
        if isinstance(value, Mapping):
            return {str(key): self.plain(each) for key, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.plain(each) for each in value]
        if is_code(value):
            return self.name(value, self.base)
        return str(value) if isinstance(value, Path) else value

    def program(self, value: Any) -> Any:
        """A program, or its section."""
        settings, value = self._settings(value), _inner(value)
        if isinstance(value, (Mapping, BaseModel)):
            return self.plain(value)
        if isinstance(value, str):
            if ":" not in value and value not in programs:
                raise ArgumentError(
                    f"{self.where}: unknown program {value!r}: {nearest(value, programs)}"
                )
            return {"name": value}
        inner = inspect.unwrap(function(value, 2, self.where, PROGRAM)) if not settings else value
        if not inspect.isfunction(inner):
            raise wrong(self.where, PROGRAM, value)
        if not is_async(inner):
            raise wrong(self.where, PROGRAM, value).hint(
                f"write async def {inner.__name__}(task, ep)"
            )
        return {"name": self.name(value, self.base), **settings}

    def model(self, value: Any) -> Any:
        """A model by name or folder, or its section."""
        if isinstance(value, (str, Path)):
            return {"name": str(value)}
        return self._section(value, "the name or folder of a model")

    def strategy(self, value: Any) -> Any:
        """A strategy, its name, or section [grow]."""
        return self._part(value, "strategy", strategies)

    def label_strategy(self, value: Any) -> Any:
        """The strategy of section [label], or that section."""
        return self._part(value, "strategy", strategies)

    def methods(self, value: Any) -> Any:
        """Methods of section [search], in a list or by name."""
        wants = 'methods: a list of dicts with a name, or a dict by name: {"one": {"n": 1}}'
        if isinstance(value, Mapping):
            named = list(value.items())
        elif isinstance(value, (list, tuple)) and all(isinstance(m, Mapping) for m in value):
            named = [(each.get("name", ""), each) for each in value]
        else:
            raise wrong(self.where, wants, value)
        return {"methods": [{"name": name, **self._method(how)} for name, how in named]}

    def _method(self, how: Any) -> Any:
        if isinstance(how, (str, BaseModel)) or is_code(how):
            return self._part(how, "strategy", strategies)
        if not isinstance(how, Mapping):
            raise wrong(self.where, "a method: a dict of settings, or a strategy", how)
        rest = {key: self.plain(each) for key, each in how.items() if key != "strategy"}
        return {**self._part(how.get("strategy", "independent"), "strategy", strategies), **rest}

    def credit(self, value: Any) -> Any:
        """A credit method, its name, or section [credit]."""
        return self._part(value, "method", methods)

    def reward(self, value: Any) -> Any:
        """A rule's name, a function, several of them, or section [reward]."""
        wants = "a function of a task and an answer, or the name of a rule"
        if isinstance(value, (list, tuple)):
            parts = {getattr(_inner(each), "__name__", str(each)): each for each in value}
            if len(parts) < len(value) or not parts:
                raise ArgumentError(f"{self.where}: give each reward a name of its own")
            return {"parts": {name: self.reward(each) for name, each in parts.items()}}
        inner = _inner(value)
        if isinstance(inner, str) or (is_code(inner) and not isinstance(inner, type)):
            return {"rule": self.plain(inner), **self._settings(value)}
        return self._section(value, wants)

    def _settings(self, value: Any) -> dict[str, Any]:
        """The settings that a partial gives a function by name."""
        if not isinstance(value, functools.partial):
            return {}
        if value.args:
            raise ArgumentError(f"{self.where}: give settings by name: partial(f, turns=3)")
        return {key: self.plain(each) for key, each in value.keywords.items()}

    def tools(self, value: Any) -> Any:
        """Tools by name: functions, names of ready-made ones, settings, or sections."""
        if isinstance(value, (list, tuple)):
            value = {getattr(each, "__name__", str(each)): each for each in value}
        tools = mapping(value, self.where, "functions by tool's name")
        return {
            name: tool_of(tool, f"{self.where}[{name!r}]", self.plain, self.base)
            for name, tool in tools.items()
        }

    def world(self, value: Any) -> Any:
        """A kind of world, its name, what makes one, or section [world]."""
        return self._part(value, "kind", worlds)

    def _part(self, value: Any, key: str, known: Mapping[str, type[BaseModel]]) -> Any:
        """A ready-made thing, or one's own, with its settings beside its name."""
        if isinstance(value, str) or is_code(value):
            if isinstance(value, str) and ":" not in value and value not in known:
                raise ArgumentError(f"{self.where}: unknown {value!r}: {nearest(value, known)}")
            return {key: _ready(value, known) or self.plain(value)}
        if isinstance(value, BaseModel):
            name = _ready(type(value), known)
            if name or not hasattr(value, key):  # a section has the name itself
                return {key: name or self.name(type(value), self.base), **self.plain(value)}
        return self._section(value, f"one of {', '.join(known)}, by name or with its settings")

    def _section(self, value: Any, wants: str) -> Any:
        if not isinstance(value, (Mapping, BaseModel)):
            raise ArgumentError(f"{self.where} takes {wants}, not {described(value)}")
        return self.plain(value)


def _section_with(key: str) -> str:
    """A hint that a key stands in a section, or ""."""
    for name, field in Recipe.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel) and key in kind.model_fields:
            return f"it is a key of {name}: {name}={{{key!r}: ...}}"
    return ""


def _inner(value: Any) -> Any:
    """What a partial is of, else the value."""
    return value.func if isinstance(value, functools.partial) else value


def _ready(value: Any, known: Mapping[str, type]) -> str:
    """The name of a ready-made class, or ""."""
    return next((name for name, kind in known.items() if kind is value), "")
