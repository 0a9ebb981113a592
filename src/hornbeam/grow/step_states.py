"""The state in which a step is taken, as a key: equal keys, equal states, within one task.

    observation   what the agent was told since it last spoke
    prompt        all that it was told and said, without regard to case and white space
    world         what the episode's tools act on, as it is before the step (worlds/)

A later chunk of an answer is in the state of the first with what was said since. Keys are digests,
but for a short text that a function of one's own gives.
"""

from __future__ import annotations

import unicodedata
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hornbeam.arguments import described
from hornbeam.chat import Message
from hornbeam.episode.failures import failure
from hornbeam.episode.record import digest
from hornbeam.episode.seams import Piece, Place
from hornbeam.errors import HornbeamError, ProgramError
from hornbeam.grow.episode_worlds import EpisodeWorlds
from hornbeam.own.own_functions import OwnFunction, own_function
from hornbeam.own.own_parts import Base, find_part
from hornbeam.tree.task import Task
from hornbeam.worlds.world_kind import WorldKind

WAYS = ("observation", "prompt", "world")
TAKES = ("agent", "task", "world")  # what a function of the messages may take besides
SHORT = 64  # characters of a key that is kept as it is


@dataclass(frozen=True, slots=True)
class StepStates:
    """How the states of steps are told: by one of `WAYS`, or by a function of one's own."""

    way: str
    function: OwnFunction | None = None

    @classmethod
    def named(cls, name: str, settings: Mapping[str, Any], base: Base = "") -> StepStates:
        """Those of this name. Raises `RecipeError`, and `ProgramError` for a broken file."""
        if name in WAYS:
            return cls(name)
        part = find_part("state key", name, WAYS, base)
        return cls(name, own_function(part, settings, ["messages"], TAKES))

    @property
    def worldly(self) -> bool:
        """Whether the world is looked at."""
        return self.way == "world"

    async def of(self, agent: str, task: Task, place: Place, worlds: EpisodeWorlds | None) -> str:
        """The key of a step that is about to be taken. Raises `ProgramError`, `WorldError`."""
        if self.function is not None:
            return await self._own(self.function, agent, task, place, worlds)
        if self.way == "world":
            assert worlds is not None, "checked before"
            return digest([agent, await worlds.seen(place.episode, state_of)])
        if self.way == "observation":
            return digest([agent, heard(place.messages)])
        return digest([agent, [[m["role"], plain(m["content"])] for m in place.messages]])

    async def _own(
        self,
        function: OwnFunction,
        agent: str,
        task: Task,
        place: Place,
        worlds: EpisodeWorlds | None,
    ) -> str:
        """What the function says of the messages, and of what else it takes."""
        messages = [dict(message) for message in place.messages]

        def said(kind: WorldKind | None, world: Any) -> Any:
            try:
                return function(messages, agent=agent, task=task, world=world)
            except HornbeamError:
                raise
            except Exception as error:
                raise ProgramError(f"{function.part.where}: {failure(error)}") from error

        looks = worlds is not None and "world" in function.takes
        key = await worlds.seen(place.episode, said) if worlds and looks else said(None, None)
        if not isinstance(key, str):
            raise ProgramError(
                f"{function.part.where} gave {described(key)}: the key of a state is a text"
            )
        return key if len(key) <= SHORT else digest(key)


def state_of(kind: WorldKind, world: Any) -> Any:
    """What two worlds have alike that are in one state."""
    return kind.state(world)


def heard(messages: Sequence[Message]) -> list[str]:
    """What an agent was told since it last spoke."""
    last = max((i for i, m in enumerate(messages) if m["role"] == "assistant"), default=-1)
    return [str(message["content"]) for message in messages[last + 1 :]]


def plain(text: str) -> str:
    """A text without regard to case, white space and forms of one letter."""
    return " ".join(unicodedata.normalize("NFKC", text).split()).casefold()


def keyed(key: str, said: array[int], pieces: Sequence[Piece]) -> list[Piece]:
    """The pieces of an answer with the states in which they were sampled, after `said`."""
    out = []
    for piece in pieces:
        out.append(piece._replace(state=digest([key, said.tolist()]) if said else key))
        said = said + piece.tokens
    return out
