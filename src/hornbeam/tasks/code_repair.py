"""Small Python programs with mistakes in them: made, described in words, broken, tested.

The question says what the program is to do, a statement after the other:

repair f : x is a plus b ; if x above 3 then x is x times b ; give x

The file program.py of the world does something else in one line or more. Tests of the task are
calls of f and their results; an agent hears of the first of `SHOWN` that fails, all are judged.
Every program passes all tests, and each of its mistakes fails one that is shown, by itself too.
The tools are `hornbeam.tools.repair_tools`, the right commands stand in `data["demonstration"]`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from random import Random
from typing import Any, NamedTuple

from hornbeam.errors import DataError
from hornbeam.tasks.word_problems import held_out
from hornbeam.tree.task import Task

FILE = "program.py"
PASSED = "ok"  # what is said where all tests pass
TESTS, SHOWN = 8, 4  # the first ones are shown
MOST = 10**6  # no result is larger
OPERATORS = {"+": "plus", "-": "minus", "*": "times"}
ORDERS = {">": "above", "<": "below"}
TRIES = 2000  # draws for one task before it is said that no more can be made


class ProgramLevel(NamedTuple):
    """How many statements a program has, how many are in a condition or a loop, mistakes."""

    statements: int
    blocks: int
    mistakes: int


LEVELS = (
    ProgramLevel(2, 0, 1),
    ProgramLevel(3, 1, 1),
    ProgramLevel(4, 2, 2),
    ProgramLevel(6, 3, 3),
)


class ProgramLine(NamedTuple):
    """A line of a program, what it says in words, and the names that stand before it."""

    code: str
    words: str
    names: tuple[str, ...]


def code_repair_tasks(
    split: str = "train", count: int = 100, seed: int = 0, level: int = 1
) -> list[Task]:
    """`count` different tasks of a level (1 to 4), equal for equal arguments.

    `answer` is "ok"; `data` holds `world`, `tests` (arguments, result), `solution` (the program)
    and `demonstration`. The question decides whether a task belongs to train or test.
    """
    if split not in ("train", "test"):
        raise DataError(f"code repair has the splits train and test, not {split!r}")
    if level not in range(1, len(LEVELS) + 1):
        raise DataError(f"code repair: level is {level} and must lie in 1 to {len(LEVELS)}")
    rng = Random(f"code repair/{split}/{seed}/{level}")
    tasks: dict[str, Task] = {}
    while len(tasks) < count:
        for _ in range(TRIES):
            lines = _program(LEVELS[level - 1], rng)
            question = "repair f : " + " ; ".join(line.words for line in lines if line.words)
            if question in tasks or held_out(question) != (split == "test"):
                continue
            if task := _broken(question, lines, LEVELS[level - 1].mistakes, rng):
                tasks[question] = task
                break
        else:
            raise DataError(f"only {len(tasks)} different programs could be made of {count}")
    return list(tasks.values())


# --- programs ------------------------------------------------------------------------------------


def _program(level: ProgramLevel, rng: Random) -> list[ProgramLine]:
    """A function of two whole numbers that gives one of its variables."""
    names = ["a", "b"]
    lines = [ProgramLine("def f(a, b):", "", ())]
    within = {*rng.sample(range(1, level.statements), level.blocks)}
    for number in range(level.statements):
        known = tuple(names)
        if number in within:
            lines += _block(known, rng)
        else:
            lines.append(_statement("    ", known, rng.choice("xy"), rng))
            names += {lines[-1].code.split()[0]} - {*names}
    last = rng.choice(names[2:])
    return [*lines, ProgramLine(f"    return {last}", f"give {last}", tuple(names))]


def _statement(indent: str, names: Sequence[str], target: str, rng: Random) -> ProgramLine:
    """A value of two names or numbers, one name at least."""
    left, right = rng.choice(names), rng.choice([*names, *"12345"])
    sign = rng.choice([*OPERATORS])
    words = f"{target} is {left} {OPERATORS[sign]} {right}"
    return ProgramLine(f"{indent}{target} = {left} {sign} {right}", words, tuple(names))


def _block(names: Sequence[str], rng: Random) -> list[ProgramLine]:
    """A condition or a loop around a statement; the words of both stand at the statement."""
    target = rng.choice([name for name in names if name not in "ab"])
    if rng.random() < 0.5:
        left, sign, right = rng.choice(names), rng.choice([*ORDERS]), rng.choice("12345")
        head, said = f"if {left} {sign} {right}:", f"if {left} {ORDERS[sign]} {right} then"
        inner = _statement(" " * 8, names, target, rng)
    else:
        end = rng.choice("ab234")
        head, said = f"for i in range({end}):", f"for i below {end} then"
        inner = _statement(" " * 8, (*names, "i"), target, rng)
    words = f"{said} {inner.words}"
    return [ProgramLine(f"    {head}", "", tuple(names)), inner._replace(words=words)]


def text_of(lines: Sequence[str]) -> str:
    """The text of a file of these lines."""
    return "\n".join(lines) + "\n"


def numbered(text: str) -> str:
    """The lines of a text with their numbers, as an agent reads them."""
    return "\n".join(f"{n} {line}" for n, line in enumerate(text.splitlines(), 1))


# --- mistakes ------------------------------------------------------------------------------------


def _broken(question: str, lines: Sequence[ProgramLine], mistakes: int, rng: Random) -> Task | None:
    """The task of a program; None where the tests do not find its mistakes, or it grows large."""
    right = [line.code for line in lines]
    arguments = rng.sample([(a, b) for a in range(1, 8) for b in range(1, 8)], TESTS)
    tests = list(zip(arguments, _results(right, arguments)))
    if any(abs(result) > MOST for _, result in tests):
        return None

    def heard(program: Sequence[str]) -> str | None:
        return first_failure([repr(each) for each in _results(program, arguments)], tests)

    now, numbers = [*right], sorted(rng.sample(range(1, len(lines)), mistakes))
    for number in numbers:
        now[number] = _mutant(lines[number], rng)
        if heard([*right[:number], now[number], *right[number + 1 :]]) is None:
            return None
    world = text_of(now)
    shown = [["run", heard(now)], ["read", numbered(world)]]
    for number in numbers:
        if heard(now) is None:  # mistakes that make up for each other
            return None
        now[number] = right[number]
        shown.append([f"edit {number + 1} {right[number].strip()}", PASSED])
        shown.append(["run", heard(now) or PASSED])
    data: dict[str, Any] = {
        "world": {FILE: world},
        "tests": [[[*pair], result] for pair, result in tests],
        "solution": text_of(right),
        "demonstration": [*shown, ["done", ""]],
    }
    digest = hashlib.blake2b(question.encode(), digest_size=6).hexdigest()
    return Task(f"repair-{digest}", question, PASSED, data)


def _mutant(line: ProgramLine, rng: Random) -> str:
    """The line with another operator, number or name in one place."""
    begin = line.code.find("= ") + 1
    places = list(re.finditer(r"(?<![a-z])[abixy](?![a-z])|\d|[-+*<>]", line.code[begin:]))
    place = rng.choice([each for each in places if each[0] != "i" or " in " not in line.code])
    alike = next(
        (group for group in ([*OPERATORS], [*ORDERS], [*"12345"]) if place[0] in group), line.names
    )
    other = rng.choice([each for each in alike if each != place[0]])
    return line.code[: begin + place.start()] + other + line.code[begin + place.end() :]


def _results(lines: Sequence[str], arguments: Sequence[tuple[int, int]]) -> list[int]:
    """What a made program gives: it has no loop without an end and changes nothing."""
    space: dict[str, Any] = {}
    exec(text_of(lines), space)
    return [int(space["f"](*pair)) for pair in arguments]


def first_failure(results: Sequence[str], tests: Sequence[Any]) -> str | None:
    """What an agent hears of the first of the shown tests that fails, or None.

    `results` are the `repr` of what f gave, or an error's line behind "!".
    """
    for found, (arguments, due) in zip(results, tests[:SHOWN]):
        if found != repr(due):
            call = f"f({', '.join(map(repr, arguments))})"
            return f"{call}: {found[1:]}" if found[:1] == "!" else f"{call} is {found}, not {due!r}"
    return None
