"""What all ready-made sinks share: settings, what they need, figures by name, no secrets."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import Any, ClassVar

from hornbeam.errors import RecipeError, how_to_get
from hornbeam.protocols import Sink
from hornbeam.settings import Settings

SECRET = {"key", "token", "secret", "password", "authorization", "headers", "credentials"}
USER = re.compile(r"(?<=://)[^/@\s]+@")  # name and password in a URL


class SinkSettings(Settings, ABC):
    """Settings of one kind of sink. `needs` are the modules of its extra."""

    extra: ClassVar[str] = ""
    needs: ClassVar[tuple[str, ...]] = ()

    def check(self, name: str) -> None:
        """Raise `RecipeError` where it cannot start here; `name` is its table's."""
        if not all(map(_found, self.needs)):
            raise RecipeError(f"sinks.{name} needs the extra; {how_to_get(self.extra)}")

    @abstractmethod
    def make(self) -> Sink:
        """The sink with these settings; its library is imported in `start`."""


def _found(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # its parent is missing, or it stands as None in sys.modules
        return False


def numbers(figures: Mapping[str, Any]) -> dict[str, float]:
    """Those of the figures that are numbers."""
    return {name: value for name, value in figures.items() if isinstance(value, (int, float))}


def check_no_secret(name: str, settings: Iterable[str]) -> None:
    """`RecipeError` for a setting that would bring a secret into the recipe that a run keeps."""
    for key in settings:
        if re.split(r"[_-]", key.lower())[-1] in SECRET:
            raise RecipeError(
                f"sinks.{name}.{key}: a run keeps its recipe and its page shows it, so no secret"
                " stands there: put it into the environment"
            )


def without_passwords(data: Any) -> Any:
    """JSON data without names and passwords in its URLs."""
    if isinstance(data, str):
        return USER.sub("", data)
    if isinstance(data, Mapping):
        return {key: without_passwords(value) for key, value in data.items()}
    return [without_passwords(each) for each in data] if isinstance(data, list) else data
