"""JSON values that a store keeps under names, beside its trees."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import sqlalchemy as sa

from hornbeam.errors import DataError, StoreError
from hornbeam.store.tables import META

_RAISED = (DataError, LookupError, TypeError, AttributeError, ValueError, ArithmeticError)


class KeptValues(ABC):
    """What a store keeps under names. Raises `StoreError`."""

    place: str
    _ops: list[tuple[Any, dict[str, Any]]]
    _upsert: dict[str, Any]

    @abstractmethod
    def flush(self) -> None:
        """Write all that is buffered."""

    @abstractmethod
    def _begin(self) -> AbstractContextManager[sa.Connection]: ...

    @abstractmethod
    def _touch(self) -> None: ...

    def as_json(self, data: Any, what: str) -> str:
        """Data as JSON text. Raises `StoreError`, which says what is none."""
        try:
            return json.dumps(data, separators=(",", ":"))
        except (TypeError, ValueError, RecursionError) as error:
            raise StoreError(f"{self.place}: {what} is no JSON: {error}") from error

    @contextmanager
    def reading(self, what: str) -> Iterator[None]:
        """Around code that reads a value which was kept.

        Whatever it raises of a value that is none of ours is one `StoreError`: `what` is damaged.
        """
        try:
            yield
        except _RAISED as error:
            raise StoreError(f"{self.place}: {what} is damaged: {error!r:.200}") from error
        except RecursionError as error:
            raise StoreError(f"{self.place}: {what} is damaged: nested too deep") from error

    def get(self, name: str, default: Any = None) -> Any:
        """The JSON value kept under a name."""
        self.flush()
        with self._begin() as db:
            found = db.execute(sa.select(META.c.value).where(META.c.name == name)).scalar()
        with self.reading(f"value of {name!r}"):
            return default if found is None else json.loads(found)

    def kept_recipe(self) -> dict[str, Any]:
        """The recipe that the run began with, as JSON data; {} where none is kept."""
        found = self.get("recipe")
        with self.reading("value of 'recipe'"):
            sections = {} if found is None else found.items()
            return {name: {**section} if name == "run" else section for name, section in sections}

    def values(self, prefix: str) -> list[Any]:
        """The JSON values kept under names that begin so, in order of their names."""
        self.flush()
        names = META.c.name.startswith(prefix, autoescape=True)
        with self._begin() as db:
            found = db.execute(sa.select(META.c.value).where(names).order_by(META.c.name)).all()
        with self.reading(f"a value of {prefix!r}"):
            return [json.loads(value) for (value,) in found]

    def set(self, name: str, value: Any) -> None:
        """Keep a JSON value under a name."""
        row = {"name": name, "value": self.as_json(value, f"value of {name!r}")}
        self._ops.append((self._upsert["meta"], row))
        self._touch()

    def unset(self, prefix: str) -> None:
        """Keep no more what stands under names that begin so."""
        names = META.c.name.startswith(prefix, autoescape=True)
        self._ops.append((sa.delete(META).where(names), {}))
        self._touch()
