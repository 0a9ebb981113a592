"""What tools act on: worlds that are opened for each episode, and fork with it."""

from hornbeam.worlds.folder_world import FolderWorld, WorkFolder
from hornbeam.worlds.given_world import NoWorld, no_world, world_of, worlds
from hornbeam.worlds.own_world import OwnWorld, own_world
from hornbeam.worlds.python_world import PythonWorld
from hornbeam.worlds.sandbox_world import SandboxWorld
from hornbeam.worlds.snapshots import Snapshots
from hornbeam.worlds.sqlite_world import Database, SqliteWorld
from hornbeam.worlds.world_kind import Snapshot, WorldKind

__all__ = [
    "Database",
    "FolderWorld",
    "NoWorld",
    "OwnWorld",
    "PythonWorld",
    "SandboxWorld",
    "Snapshot",
    "Snapshots",
    "SqliteWorld",
    "WorkFolder",
    "WorldKind",
    "no_world",
    "own_world",
    "world_of",
    "worlds",
]
