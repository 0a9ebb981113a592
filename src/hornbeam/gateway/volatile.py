"""What is not the same in each run of an agent, masked when its requests are compared.

A clock, an id of a run, the name of a passing folder: the settings `volatile` are patterns of such.
What was sampled is never touched: the model sees a request as it came.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from hornbeam.errors import ProgramError

MASK = "\x00"


class Volatile:
    """Patterns whose matches are one and the same when requests are compared."""

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self._found = [re.compile(pattern) for pattern in patterns]

    def __bool__(self) -> bool:
        return bool(self._found)

    def masked(self, value: Any) -> Any:
        """The JSON value with what matches masked in all its texts; keys stay."""
        if isinstance(value, str):
            for pattern in self._found:
                value = pattern.sub(MASK, value)
            return value
        if isinstance(value, Mapping):
            return {key: self.masked(each) for key, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.masked(each) for each in value]
        return value


def check_volatile(patterns: Iterable[str]) -> None:
    """Raise `ProgramError` for a pattern that is none, or that matches the empty text."""
    for n, pattern in enumerate(patterns):
        where = f"program.volatile[{n}] = {pattern!r}"
        try:
            found = re.compile(pattern)
        except re.error as error:
            raise ProgramError(f"{where} is no regular expression: {error}") from error
        if found.search(""):
            raise ProgramError(f"{where} matches the empty text: name what varies")
