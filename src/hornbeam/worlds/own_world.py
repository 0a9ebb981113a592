"""Worlds of one's own: what a class or a function makes, by its own `fork`, or copied.

def fork(self)              another world in the same state, or
def snapshot(self)          JSON data, bytes, anything that stays as it is, and
def restore(self, found)    bring a new world into that state; with neither it is copied
def close(self)             optional: the episode has ended
size                        optional: bytes
def state(self)             optional: JSON data, equal where worlds are in one state
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import PrivateAttr

from hornbeam.errors import WorldError
from hornbeam.own.own_functions import call_settings
from hornbeam.own.own_parts import Named
from hornbeam.settings import build
from hornbeam.tree.task import Task
from hornbeam.workers.object_size import object_size
from hornbeam.worlds.python_world import copied, restored, state_data
from hornbeam.worlds.world_kind import Snapshot, WorldKind


def own_world(part: Named, settings: Mapping[str, Any], base: Path) -> WorldKind:
    """The kind of worlds that a part of one's own makes, or is. Raises `RecipeError`."""
    thing = part.thing
    if isinstance(thing, type) and issubclass(thing, WorldKind):
        return build("world", {part.where: thing}, part.where, settings).beside(base)
    common = {key: value for key, value in settings.items() if key in WorldKind.model_fields}
    rest = {key: value for key, value in settings.items() if key not in common}
    made = partial(thing, **call_settings(part, rest, ("task",)))
    kind = build("world", {part.where: OwnWorld}, part.where, common)
    return kind.made_by(made if rest else thing)


class OwnWorld(WorldKind):
    """What `make` makes: given the `task` where it has such a parameter, and its settings."""

    _make: Callable[..., Any] = PrivateAttr(dict)
    _wants_task: bool = PrivateAttr(False)

    def made_by(self, make: Callable[..., Any]) -> OwnWorld:
        """The same with what makes a world."""
        kind = self.model_copy()
        kind._make = make
        try:
            kind._wants_task = "task" in inspect.signature(make).parameters
        except ValueError:  # written in C
            kind._wants_task = False
        return kind

    def open(self, task: Task) -> Any:
        """A new one."""
        return self._make(task=task) if self._wants_task else self._make()

    def snapshot(self, world: Any) -> Snapshot:
        """By `fork`, by `snapshot`, or a copy. Raises `WorldError`."""
        if (fork := getattr(world, "fork", None)) is not None:
            other = fork()
            if other is world or other is None:
                raise WorldError(f"fork() of {type(world).__name__} gave no other world")
            found = Snapshot(other, int(getattr(other, "size", 0)) or object_size(other))
        elif hasattr(world, "snapshot") and hasattr(world, "restore"):
            taken = world.snapshot()
            found = Snapshot((taken,), object_size(taken))
        else:
            found = copied(world, self.most)
        self.check_size(found.size)
        return found

    def restore(self, data: Any, task: Task) -> Any:
        """Another one in that state."""
        if hasattr(data, "fork"):
            return data.fork()
        if isinstance(data, tuple):
            world = self.open(task)
            world.restore(data[0])
            return world
        return restored(data)

    def state(self, world: Any) -> Any:
        """By its `state`, by `snapshot` where it has no `fork`, or as it is."""
        if (state := getattr(world, "state", None)) is not None:
            return state_data(state())
        own = hasattr(world, "snapshot") and not hasattr(world, "fork")
        return state_data(world.snapshot() if own else world)

    def drop(self, data: Any) -> None:
        """Close a forked one that was kept."""
        if hasattr(data, "fork"):
            self.close(data)

    def close(self, world: Any) -> None:
        """By its `close`, if it has one."""
        if (close := getattr(world, "close", None)) is not None:
            close()

    def quick(self, world: Any) -> bool:
        """Where it is copied, and has no end of its own."""
        return not any(hasattr(world, name) for name in ("fork", "snapshot", "close"))
