"""Why episodes failed: where in a program's own file, and whether all failed for one cause.

A failed leaf says `Name: message (mine.py:12)`: the last line of a recipe's own file on the way to
the error. Errors on whose way there is none have no place.
"""

from __future__ import annotations

import asyncio
import re
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from hornbeam.own.own_code import is_own_frame
from hornbeam.tree.nodes import Tree
from hornbeam.workers.outcomes import words_of

LONGEST = 500  # characters of a failure

_PLACED = re.compile(r"(\w+): .*?\(([^()/]+\.py:\d+)\)", re.DOTALL)


def failure(error: BaseException, waiting: asyncio.Task[Any] | None = None) -> str:
    """One line for a failed episode: the error's name, its text and its place.

    `waiting` is the program's task where the error is told it from outside, as it waits.
    """
    text = f"{type(error).__name__}: {words_of(error)}".split("\n", 1)[0]
    frames = [*traceback.walk_tb(error.__traceback__), *_waits(waiting)]
    own = [(f.f_code.co_filename, n) for f, n in frames if is_own_frame(f)]
    place = f" ({Path(own[-1][0]).name}:{own[-1][1]})" if own else ""
    return text[: LONGEST - len(place)] + place


def _waits(task: asyncio.Task[Any] | None) -> Iterator[tuple[FrameType, int]]:
    """The frames of a coroutine that waits, outermost first."""
    inner: Any = None if task is None else task.get_coro()
    while getattr(inner, "cr_frame", None) is not None:
        yield inner.cr_frame, inner.cr_frame.f_lineno
        inner = inner.cr_await


def cause(error: str) -> str:
    """What failures have in common: "ZeroDivisionError at mine.py:12", else the line itself."""
    placed = _PLACED.fullmatch(error)
    return f"{placed[1]} at {placed[2]}" if placed else error


def failed(trees: Iterable[Tree]) -> list[str]:
    """The errors of the leaves at which episodes failed."""
    found = (tree.nodes[i].error for tree in trees for i in tree.leaves())
    return [error for error in found if error]


def causes(errors: Iterable[str]) -> str:
    """The cause of failures, the most frequent first; "" of none."""
    counts = Counter(map(cause, errors))
    if not counts:
        return ""
    ((first, _),) = counts.most_common(1)
    more = len(counts) - 1
    return f"{first} and {more} other cause{'s' * (more > 1)}" if more else first


def one_cause(trees: Sequence[Tree]) -> str:
    """The first error where all episodes failed for one cause, "" where not.

    Lines without a place are alike that differ in numbers only.
    """
    ends = sum(len(tree.leaves()) for tree in trees)
    errors = failed(trees)
    if not ends or len(errors) < ends:
        return ""
    kinds = {
        re.sub(r"\d+", "#", known) if known == error else known
        for error in errors
        for known in [cause(error)]
    }
    return errors[0] if len(kinds) == 1 else ""
