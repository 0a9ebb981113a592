"""The seams of growth: what a driver needs of the world behind the record, and who keeps trees."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from hornbeam.chat import Chat, Message


class Piece(NamedTuple):
    """Sampled ids of one node: a whole answer, or one chunk of it ("chunk": it goes on)."""

    tokens: array[int]
    logprobs: array[float]
    text: str
    finish: str
    version: int
    state: str = ""  # key of the state in which it was sampled


class Place(NamedTuple):
    """Where an ask or a call stands: the ask's place in its path, the ids it has already.

    `messages` are what is asked with which `tools`, `pieces` how many chunks are wanted; None: the
    whole answer. `counted`: kinds of the ledger that are entered where the ask is sampled.
    """

    episode: int
    turn: int
    scope: str
    used: int = 0
    pieces: int | None = None
    messages: tuple[Message, ...] = ()
    tools: tuple[Mapping[str, Any], ...] = ()
    counted: Mapping[str, int] = {}


class Live(Protocol):
    """What a driver needs of the world where the record ends."""

    def chat(self, agent: str) -> Chat:
        """The chat of the policy that this agent speaks with; `ProgramError` for unknown ones."""
        ...

    def names(self) -> tuple[str, ...]:
        """The agents that can be asked, the main one first."""
        ...

    def seed(self, place: Place) -> int:
        """The seed of the request at this place."""
        ...

    async def sample(
        self, agent: str, context: array[int], sampling: Mapping[str, Any], place: Place
    ) -> list[Piece]:
        """Sample an answer (or the rest of one) after `context`.

        Raises `EngineError`, `BudgetSpent`, and `ProgramError` for unknown agents or settings. An
        `EngineLost` among them is nothing that the program is told of.
        """
        ...

    async def tool(
        self, name: str, arguments: Mapping[str, Any], place: Place, refused: str = ""
    ) -> Any:
        """Run a tool; a `refused` call is paid and fails. Raises `ToolError`, `BudgetSpent`."""
        ...

    def functions(self) -> Mapping[str, Callable[..., Any]]:
        """The run's tools by name."""
        ...

    def enter(self) -> None:
        """One more activity is busy: a driver between effects, an effect outside the engine."""
        ...

    def leave(self) -> None:
        """One activity less is busy."""
        ...
