"""A small spreadsheet as a world: its tools. Their results are short, for small models.

The world is a dict of what is written in the cells, as `task.data["world"]` has it: numbers, texts
and formulas (`hornbeam.answers.formulas`) as text. Nothing that is overwritten comes back.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import chain
from typing import Any

from hornbeam.answers.arithmetic import ArithmeticProblem, write_number
from hornbeam.answers.formulas import MAX_FORMULA, Value, cells_of, plain, values
from hornbeam.arguments import short
from hornbeam.errors import ToolError

World = dict[str, str]

EMPTY = "-"  # what is said of an empty cell
MAX_TEXT = 40  # characters of a text in a cell
MAX_BITS = 300  # of a number that a call gives as such
_TEXT = re.compile(r"[\w .,:/()-]+")


def get_cells(cells: str, world: World) -> str:
    """The values of a cell or range, such as A1:B3: row by row, "/" between rows."""
    return _shown(_sheet(world), _range(cells))


def get_formulas(cells: str, world: World) -> str:
    """What is written in a cell or range, formulas as such."""
    sheet, rows = _sheet(world), _range(cells)
    return " / ".join(" ".join(sheet.get(name, EMPTY) for name in row) for row in rows)


def set_cell(cell: str, value: Any, world: World) -> str:
    """Write a number, a text or a formula, such as =A1*B1 or =SUM(A1:A4); says its value."""
    name, written = _cell(cell), _written(value)
    (found,) = _worked_out({**_sheet(world), name: written}, [name])
    world[name] = written
    return _said(found)


def sum_cells(cells: str, world: World) -> str:
    """The sum of the numbers in a range."""
    sheet, rows = _sheet(world), _range(cells)
    _worked_out(sheet, [*chain(*rows)])
    (found,) = _worked_out({**sheet, cells: f"=SUM({rows[0][0]}:{rows[-1][-1]})"}, [cells])
    return _said(found)


def sort_rows(cells: str, column: str, world: World) -> str:
    """Sort the rows of a range by one of its columns, the least number first, texts last."""
    sheet, rows = _sheet(world), _range(cells)
    columns = [name[0] for name in rows[0]]
    if not isinstance(column, str) or column.strip().upper() not in columns:
        raise ToolError(f"{short(column)} is no column of the range, it has {' '.join(columns)}")
    by = columns.index(column.strip().upper())
    written = [[sheet.get(name, "") for name in row] for row in rows]
    if any(each.startswith("=") for row in written for each in row):
        raise ToolError("the range holds formulas, which cannot be sorted")
    written.sort(key=lambda row: _order(plain(row[by])))
    for name, each in zip(chain(*rows), chain(*written)):
        world[name] = each
        if not each:
            del world[name]
    return _shown(world, rows)


def sheet_state(world: World) -> str:
    """The values of all cells that are not empty: what a task's end is judged by."""
    names = sorted(_sheet(world), key=lambda name: (int(name[1:]), name[0]))
    found = values(world, names)
    return " ".join(f"{name} {_said(found[name])}" for name in names)


SHEET_TOOLS: dict[str, Callable[..., str]] = {
    "get": get_cells,
    "formula": get_formulas,
    "set": set_cell,
    "sum": sum_cells,
    "sort": sort_rows,
    "sheet_state": sheet_state,
}


def _sheet(world: Any) -> World:
    """The world, if it is a spreadsheet. Raises `ToolError`."""
    held = world.items() if isinstance(world, dict) else [(None, None)]
    if not all(isinstance(n, str) and isinstance(w, str) and _is_cell(n) for n, w in held):
        raise ToolError("the world is no spreadsheet: take tasks of source 'spreadsheet'")
    return world  # type: ignore[no-any-return]


def _is_cell(name: str) -> bool:
    try:
        return cells_of(name) == [[name]]
    except ArithmeticProblem:
        return False


def _range(cells: Any) -> list[list[str]]:
    if not isinstance(cells, str):
        raise ToolError(f"{short(cells)} is no cell or range, as B2 or A1:B3")
    try:
        return cells_of(cells)
    except ArithmeticProblem as problem:
        raise ToolError(str(problem)) from problem


def _cell(cell: Any) -> str:
    found = _range(cell)
    if len(found) * len(found[0]) > 1:
        raise ToolError(f"{cell} is a range: name one cell")
    return found[0][0]


def _written(given: Any) -> str:
    """What a call wants to be written, as text. Raises `ToolError` for what no cell takes."""
    if isinstance(given, int) and not isinstance(given, bool) and given.bit_length() <= MAX_BITS:
        return str(given)
    if isinstance(given, float) and math.isfinite(given):
        return str(given)
    if isinstance(given, (int, float)) and not isinstance(given, bool):
        raise ToolError("the number is too large")
    if not isinstance(given, str) or not given.strip():
        raise ToolError("a number, a text or a formula is expected")
    text = given.strip()
    if text.startswith("="):
        if len(text) > MAX_FORMULA:
            raise ToolError(f"a formula is longer than {MAX_FORMULA} characters")
        return text
    number = plain(text)
    if not isinstance(number, Fraction):
        if len(text) > MAX_TEXT or not _TEXT.fullmatch(text):
            raise ToolError(f"a text has up to {MAX_TEXT} letters, digits and blanks")
        return text
    return write_number(number)


def _worked_out(sheet: World, names: Sequence[str]) -> list[Value]:
    """The values of cells. Raises `ToolError` where a formula has none."""
    found: list[Value] = []
    for name, each in values(sheet, names).items():
        if isinstance(each, ArithmeticProblem):
            raise ToolError(f"{name}: {each}")
        found.append(each)
    return found


def _shown(sheet: World, rows: Sequence[Sequence[str]]) -> str:
    """The values of a range as they are said."""
    found = values(sheet, chain(*rows))
    return " / ".join(" ".join(_said(found[name]) for name in row) for row in rows)


def _said(found: Value | ArithmeticProblem) -> str:
    """A value as it is said; "error" where a formula has none."""
    if isinstance(found, ArithmeticProblem):
        return "error"
    return found if isinstance(found, str) else EMPTY if found is None else write_number(found)


def _order(found: Value) -> tuple[int, Fraction, str]:
    """Numbers by size, then texts, then empty cells."""
    if isinstance(found, Fraction):
        return 0, found, ""
    return (2, Fraction(), "") if found is None else (1, Fraction(), found)
