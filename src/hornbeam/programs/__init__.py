"""Ready-made agent programs by name, and your own out of a file."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hornbeam.errors import ProgramError
from hornbeam.program import Program
from hornbeam.programs.calls import React
from hornbeam.programs.delegate import Delegate, delegate, delegate_demonstration
from hornbeam.programs.errand import Errand, errand, errand_demonstration
from hornbeam.programs.judge import Judge, judge, judge_demonstration
from hornbeam.programs.load import load_module
from hornbeam.programs.lookup import lookup, lookup_demonstration
from hornbeam.programs.react import react, react_demonstration
from hornbeam.programs.single import Single, single, single_demonstration
from hornbeam.programs.talk import Demonstration
from hornbeam.programs.team import Team, team, team_demonstration
from hornbeam.settings import Settings, build, nearest

__all__ = ["Demonstration", "Ready", "make_program", "programs"]


class _Lookup(Settings):
    """The agent of the tiny world takes no settings."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A ready-made program: its settings, what makes it, what makes its demonstrations."""

    settings: type[Settings]
    program: Callable[[Any], Program]
    demonstration: Callable[[Any], Demonstration | None] = lambda settings: None


programs: dict[str, Ready] = {
    "single": Ready(Single, single, single_demonstration),
    "react": Ready(React, react, react_demonstration),
    "team": Ready(Team, team, team_demonstration),
    "judge": Ready(Judge, judge, judge_demonstration),
    "delegate": Ready(Delegate, delegate, delegate_demonstration),
    "errand": Ready(Errand, errand, errand_demonstration),
    "lookup": Ready(_Lookup, lambda settings: lookup, lambda settings: lookup_demonstration),
}


def make_program(
    name: str, settings: Mapping[str, Any] = {}, base: str | Path = "."
) -> tuple[Program, Demonstration | None]:
    """The program of that name, and what shows a task's gold conversation where it has that.

    `name` is a ready-made one, or "path/to/file.py:function" with the path relative to `base`; the
    settings are then keyword arguments of the function, and a function `demonstration` in the same
    file is what shows. Raises `RecipeError` for settings and unknown names, `ProgramError` for
    files.
    """
    if ":" in name or name.endswith(".py"):
        return _from_file(name, settings, Path(base))
    values = build("program", {n: ready.settings for n, ready in programs.items()}, name, settings)
    ready = programs[name]
    return ready.program(values), ready.demonstration(values)


def _from_file(
    name: str, settings: Mapping[str, Any], base: Path
) -> tuple[Program, Demonstration | None]:
    file, colon, function = name.rpartition(":")
    if not colon or not function.isidentifier():
        raise ProgramError(f"program {name!r}: name a function too, as in file.py:team")
    module = load_module(base / file)
    here = f"{file}: {function}"
    known = [n for n, value in vars(module).items() if inspect.iscoroutinefunction(value)]
    found: Any = getattr(module, function, None)
    if found is None:
        raise ProgramError(f"{file} has no function {function!r}: {_hint(function, known)}")
    if not inspect.iscoroutinefunction(found):
        raise ProgramError(f"{here} is not async: write async def {function}(task, ep)")
    parameters = list(inspect.signature(found).parameters.values())
    more = [p.name for p in parameters[2:]]
    if len(parameters) < 2:
        raise ProgramError(
            f"{here} must take a task and an episode: async def {function}(task, ep)"
        )
    for key in settings:
        if key not in more:
            raise ProgramError(f"{here} has no setting {key!r}: {_hint(key, more)}")
    missing = [p.name for p in parameters[2:] if p.default is p.empty and p.name not in settings]
    if missing:
        raise ProgramError(f"{here} needs the setting {missing[0]!r}")
    program = functools.partial(found, **settings) if settings else found
    return program, getattr(module, "demonstration", None)


def _hint(name: str, known: list[str]) -> str:
    return nearest(name, known) if known else "there is none"
