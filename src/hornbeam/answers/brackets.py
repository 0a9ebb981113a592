r"""Brackets counted: where what stands in brackets ends, though it holds brackets itself.

    ANSWER[\sqrt[3]{2}]     ANSWER[(0, 1]]     CALC[len("[")]

A text in quotes counts for nothing, `(0, 1]` and `[0, 1)` are intervals, a round bracket that is
never closed is read over. Curly brackets are counted by themselves, `\{` left out.

Left out: intervals written ]0, 1[ without \left and \right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

OPENS = {"]": "[", ")": "(", "}": "{"}
MOST = 200  # characters of an interval
_CURLY = re.compile(r"\\.|[{}]", re.DOTALL)
_ROUND = re.compile(
    r"""(?<=[\[({,;=:+])\s*(?:"(?:[^"\\\n]|\\.)*(?:"|\Z)|'(?:[^'\\\n]|\\.)*(?:'|\Z))"""
    r"|\\(?:left|right)\s*\\?[\[\](){}]|[\[\](),;]"
)
_WORDS = re.compile(r"(?<![\\A-Za-z])(?!inf)[A-Za-z]{4,}")  # no interval holds any


class _Open:
    """A bracket that is open: where, which, and whether a comma stands in it."""

    __slots__ = ("at", "comma", "sign")

    def __init__(self, at: int, sign: str) -> None:
        self.at, self.sign, self.comma = at, sign, False


def inside(text: str, start: int, end: str) -> str | None:
    """What stands from `start` up to `end`; `text[start - 1]` is the bracket that `end` closes.

    Where it is never closed, or `end` closes no such bracket, up to the first `end`; None without
    one.

    >>> inside("ANSWER[a[0]]", 7, "]")
    'a[0]'
    """
    if text[:start].endswith(OPENS.get(end[0], "\0")):
        found = next(_ends(text, end, start - 1), None)
        if found is not None:
            return text[start:found]
    found = text.find(end, start)
    return None if found < 0 else text[start:found]


def stop_end(text: str, stop: Sequence[str]) -> int | None:
    """Where a text ends that stops at one of these strings, brackets counted; None without one.

    >>> stop_end("ANSWER[a[0]] or so", ["]"])
    12
    """
    ends = sorted({found.end() for s in stop for found in re.finditer(re.escape(s), text)})
    return next((end for end in ends if not goes_on(text[:end], stop)), None)


def goes_on(text: str, stop: Sequence[str], before: str = "") -> bool:
    """Whether all stop strings in `text`, said after `before`, close a bracket inside another.

    The outer one is a bracket of the same kind right behind a word, as calls and answers have it.

    >>> goes_on("ANSWER[a[0]", ["]"]), goes_on("ANSWER[a[0]]", ["]"]), goes_on("[1]", ["]"])
    (True, False, False)
    """
    there = [each for each in stop if each in text]
    return bool(there) and all(
        each[0] in OPENS
        and not any(at + len(each) > len(before) for at in _ends(before + text, each, -1))
        for each in there
    )


def _ends(text: str, end: str, root: int) -> Iterator[int]:
    """Where `end` stands and leaves nothing open that counts: the bracket at `root`, or any."""
    sign = OPENS[end[0]]
    stack: list[_Open] = []
    outer = -1  # place in the stack of the first bracket that counts
    for at, kind in _signs(text, max(root, 0), curly=sign == "{"):
        if kind in ",;":
            for top in stack[-1:]:
                top.comma = True
        elif kind in "[({":
            named = kind == sign and bool(at) and (text[at - 1].isalnum() or text[at - 1] == "_")
            if outer < 0 and (at == root if root >= 0 else named):
                outer = len(stack)
            stack.append(_Open(at, kind))
        else:
            _close(text, stack, at, kind, outer)
            outer = -1 if len(stack) <= outer else outer
            if outer < 0 and text.startswith(end, at):
                yield at
            if root >= 0 and not stack:
                return


def _signs(text: str, start: int, curly: bool) -> Iterator[tuple[int, str]]:
    r"""(where, which) of brackets and commas; of `\left(` and `\right]` as they are meant."""
    for found in (_CURLY if curly else _ROUND).finditer(text, start):
        sign = found[0]
        if sign.startswith(("\\left", "\\right")):
            kind = "(" if sign.startswith("\\left") else ")"
            yield found.end() - 1, "[]"[kind == ")"] if sign[-1] in "[]" else kind
        elif len(sign) == 1:
            yield found.start(), sign


def _close(text: str, stack: list[_Open], at: int, sign: str, outer: int) -> None:
    """Take off the stack what a closing bracket closes; what closes nothing is read over."""
    top = len(stack) - 1
    if top >= 0 and stack[top].sign != OPENS[sign] and top != outer:
        begin = stack[top].at
        if stack[top].comma and at - begin < MOST and not _WORDS.search(text, begin, at):
            stack.pop()  # an interval
            return
        if sign == "]":  # round brackets that nobody closed
            while top > outer and stack[top].sign == "(":
                top -= 1
    if top >= 0 and stack[top].sign == OPENS[sign]:
        del stack[top:]
