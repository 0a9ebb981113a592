"""Formulas of a small spreadsheet, worked out exactly by the calculator's grammar (arithmetic.py).

A formula begins with "=". It is arithmetic in which a cell (B2) stands for its value, an empty one
for 0, and SUM, MIN, MAX, COUNT and AVERAGE take one range (SUM(A1:B3)) or cell, of which they read
the numbers. Names may be in small letters. What is not a formula nor a number is a text.

Cells, the length of a formula and how many cells one answer may read are bounded, so that every
sheet is answered at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction

from hornbeam.answers.arithmetic import MAX_BITS, ArithmeticProblem, evaluate, tokens

COLUMNS = "ABCDEFGH"
ROWS = 20
MAX_FORMULA = 100  # characters
MAX_READ = 10_000  # cells read for one answer

Cells = Mapping[str, str]  # name -> what is written there, in any order; empty ones are left out
Value = Fraction | str | None  # a number, a text, nothing

_CELL = rf"[{COLUMNS}]\d{{1,2}}"
_RANGE = re.compile(rf"({_CELL})(?:\s*:\s*({_CELL}))?")
_PART = re.compile(
    rf"(?<![\w.])(?:(?P<function>[A-Z]+)\s*\((?P<of>[^()]*)\)|(?P<cell>{_CELL})\b|(?P<word>[A-Z]\w*))"
)


def _average(numbers: Sequence[Fraction]) -> Fraction:
    return sum(numbers, Fraction()) / len(numbers)


FUNCTIONS: dict[str, Callable[[Sequence[Fraction]], Fraction]] = {
    "SUM": lambda numbers: sum(numbers, Fraction()),
    "MIN": min,
    "MAX": max,
    "COUNT": lambda numbers: Fraction(len(numbers)),
    "AVERAGE": _average,
}


def cells_of(text: str) -> list[list[str]]:
    """The cells of "B2" or "A1:B3", row by row. Raises `ArithmeticProblem`."""
    found = _RANGE.fullmatch(text.strip().upper()) if len(text) < 20 else None
    ends = [(each[0], int(each[1:])) for each in found.groups() if each] if found else []
    if not ends or not all(1 <= row <= ROWS for _, row in ends):
        shown = text if len(text) < 20 else f"{text[:20]}..."
        raise ArithmeticProblem(
            f"{shown!r} is no cell or range, as B2 or A1:B3; cells are A1 to {COLUMNS[-1]}{ROWS}"
        )
    columns, rows = sorted({c for c, _ in ends}), sorted({r for _, r in ends})
    across = COLUMNS[COLUMNS.index(columns[0]) : COLUMNS.index(columns[-1]) + 1]
    return [[f"{column}{row}" for column in across] for row in range(rows[0], rows[-1] + 1)]


def values(cells: Cells, names: Iterable[str]) -> dict[str, Value | ArithmeticProblem]:
    """The values of these cells by name; for a formula that has none what is wrong with it."""
    reading = _Reading(cells)
    return {name: reading.value(name) for name in names}


class _Reading:
    """The values that one answer reads, each worked out once, those that a formula needs first."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells
        self._known: dict[str, Value | ArithmeticProblem] = {}
        self._read = 0

    def value(self, name: str) -> Value | ArithmeticProblem:
        """The value of a cell, or what is wrong with it."""
        waiting = {} if name in self._known else {name: self._needed(name)}
        while waiting:
            at = next(reversed(waiting))
            try:
                needed = next((each for each in waiting[at] if each not in self._known), "")
                if needed in waiting:
                    raise ArithmeticProblem(f"{needed} refers to itself")
                if needed:
                    waiting[needed] = self._needed(needed)
                    continue
                self._known[at] = self._worked_out(self._cells.get(at, ""))
            except ArithmeticProblem as problem:
                self._known[at] = problem
            del waiting[at]
        return self._known[name]

    def _needed(self, name: str) -> Iterator[str]:
        """The cells that a cell's formula reads. Raises `ArithmeticProblem` for too many."""
        written = self._cells.get(name, "")
        for found in _PART.finditer(written.upper()[:MAX_FORMULA]) if written[:1] == "=" else ():
            of = found["of"] if found["function"] in FUNCTIONS else found["cell"]
            for row in cells_of(of) if of else ():
                self._read += len(row)
                if self._read > MAX_READ:
                    raise ArithmeticProblem(f"more than {MAX_READ} cells are read")
                yield from row

    def _worked_out(self, written: str) -> Value:
        if not written.startswith("="):
            return plain(written)
        if len(written) > MAX_FORMULA:
            raise ArithmeticProblem(f"a formula is longer than {MAX_FORMULA} characters")
        return evaluate(_PART.sub(self._part, written[1:].upper()))

    def _part(self, found: re.Match[str]) -> str:
        """What stands in the arithmetic for a cell or a function; all that it reads is known."""
        if found["cell"]:
            held = self._held(found["cell"])
            if isinstance(held, str):
                raise ArithmeticProblem(f"{found['cell']} holds a text")
            return f"({held or 0})"
        if found["word"]:
            raise ArithmeticProblem(f"{found['word'][:20]!r} is neither a cell nor a function")
        if found["function"] not in FUNCTIONS:
            known = ", ".join(FUNCTIONS)
            raise ArithmeticProblem(f"there is no {found['function'][:20]}: {known}")
        names = [name for row in cells_of(found["of"]) for name in row]
        numbers = [each for each in map(self._held, names) if isinstance(each, Fraction)]
        if not numbers and found["function"] not in ("SUM", "COUNT"):
            raise ArithmeticProblem(f"{found['of']} holds no number")
        result = FUNCTIONS[found["function"]](numbers)
        if max(result.numerator.bit_length(), result.denominator.bit_length()) > MAX_BITS:
            raise ArithmeticProblem("the result is too large")
        return f"({result})"

    def _held(self, name: str) -> Value:
        found = self._known[name]
        if isinstance(found, ArithmeticProblem):
            raise ArithmeticProblem(str(found))
        return found


def plain(written: str) -> Value:
    """A number or a text, as it is written; nothing where it is empty."""
    try:
        signed = written.strip()
        if len(tokens(signed)) <= 1 + signed.startswith("-"):
            return evaluate(signed)
    except ArithmeticProblem:
        pass
    return written.strip() or None
