"""An agent program that is not ready-made."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hornbeam.errors import ProgramError
from hornbeam.own.own_functions import own_function
from hornbeam.own.own_parts import find_part
from hornbeam.programs.talk import Demonstration
from hornbeam.protocols import Program


def own_program(
    name: str, settings: Mapping[str, Any], known: Iterable[str], base: str | Path
) -> tuple[Program, Demonstration | None]:
    """A program of one's own, and the `demonstration` that stands beside it.

    Raises `RecipeError` and `ProgramError`, one line each; `known` are the ready-made names.
    """
    part = find_part("program", name, known, base)
    found = part.thing
    if not inspect.iscoroutinefunction(found):
        called = getattr(found, "__name__", "f")
        raise ProgramError(f"{part.where} is not async: write async def {called}(task, ep)")
    made = own_function(part, settings, ["task", "ep"])
    program = functools.partial(found, **made.settings) if settings else found
    return program, getattr(sys.modules[found.__module__], "demonstration", None)
