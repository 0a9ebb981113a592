"""Tools that read a Python file of a folder world, edit it line by line and run its tests.

Tests run in a process of their own by the world's limits; what f should give is never told to it.
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

from hornbeam.errors import ToolError
from hornbeam.protocols import Tool
from hornbeam.tasks.code_repair import FILE, PASSED, first_failure, numbered, text_of
from hornbeam.tree.task import Task

SECONDS = 2.0  # of all tests
LONGEST = 80  # characters of a result or an error
FAILED = "failed"
MARK = "results: "

# Reads [[arguments, ...], ...] and writes what f gave, or "!" and the error, as JSON.
DRIVER = f"""
import json, sys
def said(error):
    line = getattr(error, "lineno", None)
    text = getattr(error, "msg", error)
    return f"!{{type(error).__name__}}: {{text}}" + (f" (line {{line}})" if line else "")
out, cases, space = [], json.loads(sys.stdin.read()), {{}}
try:
    exec(compile(open({FILE!r}).read(), {FILE!r}, "exec"), space)
    for case in cases:
        try:
            out.append(repr(space["f"](*case)))
        except BaseException as error:
            out.append(said(error))
except BaseException as error:
    out = [said(error)] * len(cases)
sys.stdout.write("\\n" + {MARK!r} + json.dumps([each[:{LONGEST}] for each in out]))
"""


def read(world: Any) -> str:
    """The lines of the program with their numbers."""
    return numbered(_text(world))


def edit(line: int, text: str, world: Any) -> str:
    """Put another text in place of a line, as far indented as that was."""
    lines = _text(world).splitlines()
    try:
        number = int(line)
    except ValueError:
        raise ToolError(f"{line!r} is no number of a line") from None
    if not 1 <= number <= len(lines):
        raise ToolError(f"there is no line {number}, the program has {len(lines)}")
    old = lines[number - 1]
    lines[number - 1] = old[: len(old) - len(old.lstrip())] + text.strip()
    Path(world / FILE).write_text(text_of(lines), "utf-8", newline="")
    return PASSED


def run(task: Task, world: Any) -> str:
    """Run the tests: "ok", or the first that fails."""
    tests = _tests(task)
    return first_failure(_results(tests, world), tests) or PASSED


def repaired(task: Task, world: Any) -> str:
    """Whether all tests pass, those too that were never shown: a task's end is judged by it."""
    tests = _tests(task)
    return PASSED if _results(tests, world) == [repr(due) for _, due in tests] else FAILED


def repair_tools() -> dict[str, Tool]:
    """The tools by name."""
    found: list[Tool] = [read, edit, run, repaired]
    return {tool.__name__: tool for tool in found}


def _tests(task: Task) -> list[Any]:
    tests = task.data.get("tests")
    if not tests:
        raise ToolError(f"task {task.id} has no tests")
    return list(tests)


def _text(world: Any) -> str:
    try:
        return Path(world / FILE).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ToolError(f"{FILE} cannot be read: {type(error).__name__}") from error


def _results(tests: list[Any], world: Any) -> list[str]:
    """What f gives for the arguments of the tests, as `first_failure` reads it."""
    if not hasattr(world, "run"):
        raise ToolError('tests run in a folder: set world.kind = "sandbox"')
    command = f"{shlex.quote(sys.executable)} -I -S -c {shlex.quote(DRIVER)}"
    try:
        ran = world.run(command, json.dumps([given for given, _ in tests]), SECONDS)
    except ToolError:
        return [f"!the tests took longer than {SECONDS:g} s"] * len(tests)
    _, mark, found = ran.output.rpartition("\n" + MARK)
    try:
        results = json.loads(found) if mark else None
    except json.JSONDecodeError:
        results = None
    if not isinstance(results, list) or len(results) != len(tests):
        return [f"!the program ended the process ({ran.code})"] * len(tests)
    return [str(each) for each in results]
