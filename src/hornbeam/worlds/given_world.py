"""The kind of world that a call from Python was given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hornbeam.arguments import wrong
from hornbeam.errors import ArgumentError, WorldError
from hornbeam.settings import build
from hornbeam.tree.task import Task
from hornbeam.workers.local_workers import wants_world
from hornbeam.worlds.e2b_world import E2bWorld
from hornbeam.worlds.folder_world import FolderWorld
from hornbeam.worlds.own_world import OwnWorld
from hornbeam.worlds.python_world import PythonWorld
from hornbeam.worlds.sandbox_world import SandboxWorld
from hornbeam.worlds.sqlite_world import SqliteWorld
from hornbeam.worlds.world_kind import Snapshot, WorldKind

worlds: dict[str, type[WorldKind]] = {
    "python": PythonWorld,
    "folder": FolderWorld,
    "sandbox": SandboxWorld,
    "sqlite": SqliteWorld,
    "e2b": E2bWorld,
}


class NoWorld(WorldKind):
    """That of a run without one: to open it fails, and says so."""

    def open(self, task: Task) -> Any:
        """Raises `WorldError`."""
        raise WorldError(no_world())

    def snapshot(self, world: Any) -> Snapshot:
        """Raises `WorldError`."""
        raise WorldError(no_world())

    def restore(self, data: Any, task: Task) -> Any:
        """Raises `WorldError`."""
        raise WorldError(no_world())


def no_world(tool: str = "") -> str:
    """What is wrong where a tool acts on a world and the run has none."""
    which = f"tool {tool!r}" if tool else "a tool"
    return (
        f"{which} has a parameter `world`, and the run has no world: give it a section"
        ' [world] (kind = "python"), or world= in Python; or name the parameter otherwise'
    )


def world_of(given: Any, tools: Mapping[str, Callable[..., Any]], where: str) -> WorldKind | None:
    """The kind of world. Raises `ArgumentError` for what is none, or where tools need one."""
    if given is None:
        for name, tool in tools.items():
            if wants_world(tool):
                raise ArgumentError(no_world(name))
        return None
    if isinstance(given, WorldKind):
        return given
    if isinstance(given, str):
        return build("world", worlds, given, {})
    if isinstance(given, Mapping) and isinstance(given.get("kind"), str):
        return build(
            "world", worlds, given["kind"], {k: v for k, v in given.items() if k != "kind"}
        )
    if isinstance(given, type) and issubclass(given, WorldKind):
        return given()
    if callable(given):
        return OwnWorld().made_by(given)
    raise wrong(where, 'a kind of world: "python", or a class or function that makes one', given)
