"""What tools act on: worlds that are opened for each episode, and fork with it."""

from hornbeam.worlds.e2b_world import E2bWorld
from hornbeam.worlds.folder_world import FolderWorld, WorkFolder
from hornbeam.worlds.given_world import NoWorld, no_world, world_of, worlds
from hornbeam.worlds.own_world import OwnWorld, own_world
from hornbeam.worlds.python_world import PythonWorld
from hornbeam.worlds.remote_world import RemoteSandbox, RemoteWorld, SandboxService
from hornbeam.worlds.sandbox_world import SandboxWorld
from hornbeam.worlds.snapshots import Snapshots
from hornbeam.worlds.sqlite_world import Database, SqliteWorld
from hornbeam.worlds.world_kind import Snapshot, WorldKind

__all__ = [
    "Database",
    "E2bWorld",
    "FolderWorld",
    "NoWorld",
    "OwnWorld",
    "PythonWorld",
    "RemoteSandbox",
    "RemoteWorld",
    "SandboxService",
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
