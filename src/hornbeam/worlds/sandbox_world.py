"""Worlds that are folders in which commands have limits, and no network where that can be."""

from __future__ import annotations

from pydantic import Field

from hornbeam.errors import WorldError
from hornbeam.tree.task import Task
from hornbeam.worlds.folder_world import FolderWorld, WorkFolder
from hornbeam.worlds.shell_commands import CommandLimits, namespaces


class SandboxWorld(FolderWorld):
    """A folder in which a command may use `seconds`, `memory_mb` a process, `file_mb` a file, and
    `processes`.

    A command has processes and, without `network`, no network of its own, in namespaces of the
    kernel. Where it allows none, `network = true` says that this is accepted.
    """

    memory_mb: int = Field(1000, ge=1)
    file_mb: int = Field(100, ge=1)
    processes: int = Field(64, ge=1)
    network: bool = False

    def limits(self) -> CommandLimits:
        """What commands may use."""
        return CommandLimits(
            seconds=self.seconds,
            memory_mb=self.memory_mb,
            file_mb=self.file_mb,
            processes=self.processes,
            network=self.network,
        )

    def open(self, task: Task) -> WorkFolder:
        """A new folder. Raises `WorldError` where the network cannot be taken away."""
        if not self.network and not namespaces():
            raise WorldError(
                "the kernel gives no namespaces here (unshare), so commands would have the network:"
                " set world.network = true to accept that"
            )
        return super().open(task)
