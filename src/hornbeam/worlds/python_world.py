"""Worlds of plain Python state: copied by pickle, or where that cannot, by `copy.deepcopy`."""

from __future__ import annotations

import copy
import io
import pickle
import sys
from typing import Any, ClassVar

from hornbeam.arguments import described
from hornbeam.errors import WorldError
from hornbeam.tree.task import Task
from hornbeam.workers.object_size import object_size
from hornbeam.worlds.world_kind import START, Snapshot, WorldKind, too_large


class _AboveMost(Exception):
    """What is pickled is above the bound."""


class _Bounded(io.BytesIO):
    """Takes so many bytes, so that no more of a large state is ever copied."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def write(self, data: Any) -> int:
        if self.tell() + len(data) > self.most:
            raise _AboveMost
        return super().write(data)


def copied(state: Any, most: int = sys.maxsize) -> Snapshot:
    """A copy of Python state. Raises `WorldError` for what cannot be copied, or is above `most`."""
    try:
        into = _Bounded(most)
        pickle.Pickler(into, pickle.HIGHEST_PROTOCOL).dump(state)
        return Snapshot(into.getvalue(), into.tell())
    except _AboveMost:
        raise WorldError(too_large(most)) from None
    except Exception:  # pickle raises what it likes; a lambda or a local class is no harm
        pass
    if object_size(state, most) > most:
        raise WorldError(too_large(most))
    try:
        return Snapshot([copy.deepcopy(state)], object_size(state))
    except Exception as error:
        line = f"{type(error).__name__}: {error}".split("\n", 1)[0]
        raise WorldError(
            f"the world, {described(state)}, cannot be copied ({line}): give its class fork(), or"
            ' set world.fork = "rerun"'
        ) from error


def restored(data: Any) -> Any:
    """Python state as `copied` had it."""
    return pickle.loads(data) if isinstance(data, bytes) else copy.deepcopy(data[0])


def state_data(state: Any) -> Any:
    """Python state as JSON data, dicts and sets in whatever order; what is none of it pickled.

    Raises `WorldError` for what has no such form.
    """
    if state is None or isinstance(state, (bool, int, float, str)):
        return state
    if isinstance(state, dict):
        return {
            "dict": sorted(
                ([repr(k), state_data(v)] for k, v in state.items()), key=lambda pair: pair[0]
            )
        }
    if isinstance(state, (list, tuple)):
        return [state_data(each) for each in state]
    if isinstance(state, (set, frozenset)):
        return {"set": sorted(map(repr, state))}
    try:
        return {type(state).__name__: pickle.dumps(state, 4).hex()}
    except Exception as error:
        line = f"{type(error).__name__}: {error}".split("\n", 1)[0]
        raise WorldError(
            f"the state of a world, {described(state)}, cannot be told ({line}): give its class"
            " state()"
        ) from error


class PythonWorld(WorldKind):
    """A dict, empty or as `task.data["world"]` has it."""

    light: ClassVar[bool] = True

    def open(self, task: Task) -> Any:
        """The dict."""
        return restored(copied(dict(task.data.get(START) or {})).data)

    def snapshot(self, world: Any) -> Snapshot:
        """A copy. Raises `WorldError`."""
        return copied(world, self.most)

    def restore(self, data: Any, task: Task) -> Any:
        """Another copy."""
        return restored(data)

    def state(self, world: Any) -> Any:
        """The dict, in whatever order."""
        return state_data(world)
