"""The kinds of cells of a run's tables, each looked at when it is read.

SQLite keeps any value in any column, so a file that was damaged, or is a stranger's, may hold a
text where a number belongs.
"""

from __future__ import annotations

import sys
from reprlib import repr as short
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

_MOST = 2**53  # of a whole number: what is counted on from it fits into 64 bits


class DamagedCell(SQLAlchemyError):
    """A cell holds what does not belong there."""

    def __init__(self, value: Any, belongs: str) -> None:
        super().__init__(f"malformed: {short(value)} stands where {belongs} belongs")


class WholeCell(sa.TypeDecorator[int]):
    """An integer, below 2^53."""

    impl, cache_ok = sa.Integer, True

    def process_result_value(self, value: Any, dialect: Any) -> int | None:
        """The value as it is. Raises `DamagedCell`."""
        if value is None or (type(value) is int and abs(value) < _MOST):
            return value
        raise DamagedCell(value, "a whole number")


class NumberCell(sa.TypeDecorator[float]):
    """A finite float."""

    impl, cache_ok = sa.Double, True

    def process_result_value(self, value: Any, dialect: Any) -> float | None:
        """The value as it is. Raises `DamagedCell`."""
        if value is None:
            return None
        if isinstance(value, (int, float)) and abs(value) <= sys.float_info.max:
            return value
        raise DamagedCell(value, "a number")


class TextCell(sa.TypeDecorator[str]):
    """A text."""

    impl, cache_ok = sa.Text, True

    def process_result_value(self, value: Any, dialect: Any) -> str | None:
        """The value as it is. Raises `DamagedCell`."""
        if value is None or type(value) is str:
            return value
        raise DamagedCell(value, "a text")
