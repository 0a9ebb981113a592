"""A kind of world: how the world of a task begins, and how another one goes on from where it is.

A world is what the tools of one episode act on (their parameter `world`). Whoever grows trees opens
one at an episode's first call of such a tool, takes a snapshot after a step's calls where a fork
may still begin, and restores it for each fork. Where no snapshot is, the calls of the path are made
again in a fresh world (grow/episode_worlds).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self

from pydantic import Field

from hornbeam.errors import WorldError
from hornbeam.settings import Settings
from hornbeam.tree.task import Task

START = "world"  # the key of a task's data that says how its world begins


class Snapshot(NamedTuple):
    """A world as it was, and how many bytes that holds."""

    data: Any
    size: int


class WorldKind(Settings, ABC):
    """How worlds begin, fork and end. `keep` bounds all snapshots of a process, `most` one world.

    With `fork = "rerun"` none is taken: for what nobody can copy. Sizes are in bytes. Methods run
    in a thread unless `quick` says of a world that they take microseconds.
    """

    keep: int = Field(1_000_000_000, ge=0)
    most: int = Field(1_000_000_000, ge=1)
    fork: Literal["snapshot", "rerun"] = "snapshot"
    light: ClassVar[bool] = False  # whether none of its methods needs a thread

    def beside(self, base: Path) -> Self:
        """The settings with their files found, `base` being the recipe's own folder."""
        return self

    @abstractmethod
    def open(self, task: Task) -> Any:
        """The world that a task begins with. What it raises, its episode fails of."""

    @abstractmethod
    def snapshot(self, world: Any) -> Snapshot:
        """The world as it is now. Raises `WorldError`, one above `most` too."""

    @abstractmethod
    def restore(self, data: Any, task: Task) -> Any:
        """Another world as a snapshot has it, which stays as it is."""

    def state(self, world: Any) -> Any:
        """What two worlds have alike that are in one state: JSON data. Raises `WorldError`."""
        raise WorldError(f"worlds of {type(self).__name__} do not tell their state as data")

    def drop(self, data: Any) -> None:
        """Give back what a snapshot holds."""

    def close(self, world: Any) -> None:
        """Give back what a world holds."""

    def quick(self, world: Any) -> bool:
        """Whether snapshots of this world, and its end, need no thread."""
        return self.light

    def portable(self, world: Any, text: str) -> str:
        """A text of a tool as every world of the same state says it."""
        return text

    def check_size(self, size: int) -> None:
        """Raise `WorldError` for a world above `most`."""
        if size > self.most:
            raise WorldError(too_large(self.most))


def too_large(most: int) -> str:
    """What is wrong with a world above `most` bytes."""
    return (
        f"the world is larger than it may be, world.most is {most:,} bytes: keep less in it, raise"
        ' world.most, or set world.fork = "rerun"'
    )
