"""What the server asks of who answers with searches: names, answers, trees."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from hornbeam.gateway.answered import HttpAnswer
from hornbeam.gateway.asked import Asked


class Searches(Protocol):
    """Searches by the names of models."""

    def names(self) -> list[str]:
        """The names to show."""
        ...

    def knows(self, model: str) -> bool:
        """Whether a model's name is a search's, be it one that cannot be here."""
        ...

    async def ready(self, asked: Asked, pages: str) -> Callable[[], Awaitable[HttpAnswer]]:
        """What searches and answers, checked; `pages` is where trees are looked at.

        Raises `BadRequest`, and so does what it returns. Cancelled, that stops its search.
        """
        ...

    def check_room(self, searches: int) -> None:
        """Raise `BadRequest` where so many more cannot be taken now."""
        ...

    def page(self, ident: str) -> str:
        """The page of a tree. Raises `BadRequest`."""
        ...
