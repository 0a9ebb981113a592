"""Tasks on a small spreadsheet: put in, total, fill, mend, replace, sort, and questions about it.

Column A holds names, B and C numbers, D is empty or holds formulas. A question begins with the
names, row by row, then says what to do:

bowl coin harp : 7 into B of coin             one cell is overwritten
bowl coin harp : the sum of C into C4         by a formula or a number: values are compared
bowl coin harp : fill D by B times C          a formula a row
bowl coin harp : mend the odd one in D        one formula of D1:D3 is not like the others
bowl coin harp : 0 for the largest in B       which it is must be looked at
bowl coin harp : sort by C                    rows move, and their numbers with them
bowl coin harp : what is the sum of B ?       the answer is a number, the largest or the least too

Levels have more rows and more steps, done one after the other. A task without a question is judged
by all values of the sheet as it is left (`sheet_state`), so what was overwritten by mistake counts.
The tools are those of `hornbeam.tasks.sheet`; `data["demonstration"]` holds the right commands, and
what is heard of each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, NamedTuple

from hornbeam.arguments import short
from hornbeam.errors import DataError
from hornbeam.settings import nearest
from hornbeam.tasks.lookup_world import SIGNS, TREASURES
from hornbeam.tasks.sheet import SHEET_TOOLS, sheet_state
from hornbeam.tasks.word_problems import held_out
from hornbeam.tree.task import Task

NAMES = (*TREASURES, *SIGNS)
OPERATORS = {"plus": "+", "minus": "-", "times": "*"}
TRIES = 2000  # draws for one task before it is said that no more can be made


class SheetLevel(NamedTuple):
    """How many rows a sheet has, and how many steps a task."""

    rows: int
    steps: int


LEVELS = (SheetLevel(3, 1), SheetLevel(5, 1), SheetLevel(6, 2), SheetLevel(10, 4))


class _CannotBe(Exception):
    """What was drawn makes no task of this kind."""


class _Draft:
    """A task in the making: the sheet as it is by now, and what was said and done so far."""

    def __init__(self, names: Sequence[str], cells: dict[str, str], rng: Random) -> None:
        self.names, self.cells, self.rng = names, cells, rng
        self.rows = len(names)
        self.moved = False  # whether rows are no longer where the question has them
        self.done: list[list[str]] = []  # commands, and what is heard
        self.answer = ""

    def do(self, tool: str, *arguments: str) -> str:
        heard = SHEET_TOOLS[tool](*arguments, self.cells)
        self.done.append([" ".join([tool, *arguments]), heard])
        return heard

    def read(self, column: str) -> list[int]:
        """The numbers of a column, looked up."""
        return [int(each) for each in self.do("get", self.range(column)).split(" / ")]

    def range(self, column: str, to: str = "") -> str:
        return f"{column}1:{to or column}{self.rows}"

    def only(self, find: Callable[[list[int]], int], numbers: list[int]) -> int:
        """The row of the largest or least number, of which there must be one."""
        if numbers.count(find(numbers)) > 1:
            raise _CannotBe
        return numbers.index(find(numbers)) + 1


# --- steps: each does its part on the draft and says what is to be done ---------------------------


def _put(draft: _Draft) -> str:
    name, column = draft.rng.choice(draft.names), draft.rng.choice("BC")
    row = draft.names.index(name) + 1
    if draft.moved:
        row = draft.do("get", draft.range("A")).split(" / ").index(name) + 1
    number = str(draft.rng.randint(1, 99))
    draft.do("set", f"{column}{row}", number)
    return f"{number} into {column} of {name}"


def _total(draft: _Draft) -> str:
    column = draft.rng.choice("BC" + "D" * ("D1" in draft.cells))
    below = f"{column}{draft.rows + 1}"
    draft.do("set", below, f"=SUM({draft.range(column)})")
    return f"the sum of {column} into {below}"


def _fill(draft: _Draft) -> str:
    word = draft.rng.choice(sorted(OPERATORS))
    for row in range(1, draft.rows + 1):
        draft.do("set", f"D{row}", f"=B{row}{OPERATORS[word]}C{row}")
    return f"fill D by B {word} C"


def _mend(draft: _Draft) -> str:
    formulas = draft.do("formula", draft.range("D")).split(" / ")
    signs = [formula.strip("=BC0123456789") for formula in formulas]
    row = next(n for n, sign in enumerate(signs, 1) if signs.count(sign) == 1)
    was, usual = draft.cells[f"D{row}"], signs[row % len(signs)]
    before = sheet_state(draft.cells)
    draft.do("set", f"D{row}", was.replace(signs[row - 1], usual))
    if sheet_state(draft.cells) == before:
        raise _CannotBe
    return "mend the odd one in D"


def _replace(draft: _Draft) -> str:
    column, word = draft.rng.choice("BC"), draft.rng.choice(("largest", "least"))
    row = draft.only(max if word == "largest" else min, draft.read(column))
    draft.do("set", f"{column}{row}", "0")
    return f"0 for the {word} in {column}"


def _sort(draft: _Draft) -> str:
    column = draft.rng.choice("BC")
    before = dict(draft.cells)
    draft.do("sort", draft.range("A", "C"), column)
    if draft.cells == before:
        raise _CannotBe
    draft.moved = True
    return f"sort by {column}"


def _ask(draft: _Draft) -> str:
    column = draft.rng.choice("BC" + "D" * ("D1" in draft.cells))
    word = draft.rng.choice(("sum", "largest", "least"))
    if word == "sum":
        draft.answer = draft.do("sum", draft.range(column))
    else:
        draft.answer = str((max if word == "largest" else min)(draft.read(column)))
    return f"what is the {word} of {column} ?"


STEPS: Mapping[str, Callable[[_Draft], str]] = {
    "put": _put,
    "total": _total,
    "fill": _fill,
    "mend": _mend,
    "replace": _replace,
    "sort": _sort,
    "ask": _ask,
}
KINDS = tuple(STEPS)


# --- tasks ----------------------------------------------------------------------------------------


def spreadsheet_tasks(
    split: str = "train",
    count: int = 100,
    seed: int = 0,
    level: int = 1,
    kinds: Sequence[str] = KINDS,
    rows: int | None = None,
    steps: int | None = None,
) -> list[Task]:
    """`count` different tasks, equal for equal arguments; the last steps are of `kinds` in turns.

    `level` is 1 to 4; `rows` and `steps` change what it stands for. `answer` is the number that is
    asked for, else the values of the sheet as it should be; `data` holds `world` (what is written
    in the cells), `kinds` and `demonstration`. The question decides whether a task belongs to train
    or test, whatever the seed.
    """
    shape = _shape(split, level, kinds, rows, steps)
    rng = Random(f"spreadsheet/{split}/{seed}/{shape}/{kinds}")
    seen: set[str] = set()
    tasks: list[Task] = []
    while len(tasks) < count:
        for _ in range(TRIES):
            try:
                task = _task(kinds[len(tasks) % len(kinds)], kinds, shape, rng)
            except _CannotBe:
                continue
            if task.question not in seen and held_out(task.question) == (split == "test"):
                break
        else:
            raise DataError(f"only {len(tasks)} different spreadsheets could be made of {count}")
        seen.add(task.question)
        tasks.append(task)
    return tasks


def _shape(
    split: str, level: Any, kinds: Sequence[str], rows: int | None, steps: int | None
) -> SheetLevel:
    if split not in ("train", "test"):
        raise DataError(f"spreadsheet has the splits train and test, not {split!r}")
    if type(level) is not int or not 1 <= level <= len(LEVELS):
        raise DataError(f"spreadsheet: level is {short(level)} and must lie in 1 to {len(LEVELS)}")
    if isinstance(kinds, str) or not kinds:
        raise DataError(
            f"spreadsheet: kinds is {short(kinds)}: a list of some of {', '.join(KINDS)}"
        )
    for kind in kinds:
        if kind not in STEPS:
            raise DataError(f"spreadsheet has no kind {short(kind)}: {nearest(str(kind), KINDS)}")
    shape = LEVELS[level - 1]
    given = {"rows": rows, "steps": steps}
    shape = shape._replace(**{name: n for name, n in given.items() if n is not None})
    most = {"rows": 12, "steps": len(KINDS) - 1}
    for name, number in shape._asdict().items():
        low = 3 if name == "rows" else 1
        if type(number) is not int or not low <= number <= most[name]:
            raise DataError(
                f"spreadsheet: {name} is {short(number)} and must lie in {low} to {most[name]}"
            )
    return shape


def _task(last: str, kinds: Sequence[str], shape: SheetLevel, rng: Random) -> Task:
    """A task whose last step is of that kind. Raises `_CannotBe`."""
    # to fill D there is nothing in it yet, to mend there is; a question comes last
    never = {last, "ask", *({"fill": ["mend"], "mend": ["fill"]}.get(last, []))}
    chosen = rng.sample([kind for kind in KINDS if kind not in never], shape.steps - 1)
    if {"fill", "mend"} <= set(chosen):
        raise _CannotBe
    chosen.append(last)
    cells = _sheet(shape.rows, "mend" in chosen, rng)
    names = [cells[f"A{row}"] for row in range(1, shape.rows + 1)]
    draft = _Draft(names, dict(cells), rng)
    parts = [STEPS[kind](draft) for kind in chosen]
    draft.done.append([f"answer {draft.answer}", ""] if draft.answer else ["done", ""])
    question = f"{' '.join(names)} : {' : '.join(parts)}"
    digest = hashlib.blake2b(question.encode(), digest_size=6).hexdigest()
    data: dict[str, Any] = {"world": cells, "kinds": chosen, "demonstration": draft.done}
    answer = draft.answer or sheet_state(draft.cells)
    return Task(f"spreadsheet-{last}-{digest}", question, answer, data)


def _sheet(rows: int, formulas: bool, rng: Random) -> dict[str, str]:
    """Names, numbers and, for one that is to be mended, formulas of which one is odd."""
    usual, odd = rng.sample(sorted(OPERATORS.values()), 2)
    wrong = rng.randint(1, rows)
    cells: dict[str, str] = {}
    for row, name in enumerate(rng.sample(NAMES, rows), 1):
        cells |= {f"A{row}": name, f"B{row}": str(rng.randint(1, 99))}
        cells[f"C{row}"] = str(rng.randint(1, 99))
        if formulas:
            cells[f"D{row}"] = f"=B{row}{odd if row == wrong else usual}C{row}"
    return cells
