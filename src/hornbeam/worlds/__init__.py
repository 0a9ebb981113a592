"""What tools act on: worlds that are opened for each episode, and fork with it."""

from hornbeam.worlds.given_world import NoWorld, no_world, world_of, worlds
from hornbeam.worlds.own_world import OwnWorld
from hornbeam.worlds.python_world import PythonWorld
from hornbeam.worlds.snapshots import Snapshots
from hornbeam.worlds.world_kind import Snapshot, WorldKind

__all__ = [
    "NoWorld",
    "OwnWorld",
    "PythonWorld",
    "Snapshot",
    "Snapshots",
    "WorldKind",
    "no_world",
    "world_of",
    "worlds",
]
