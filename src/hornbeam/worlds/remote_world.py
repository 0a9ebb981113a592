"""Worlds that are containers or micro-VMs of some service: what such a service does, and its kind.

A service of one's own is a class like `SandboxService`, and a `RemoteWorld` whose `service` gives
it ("mine.py:Name"). Worlds are forked from its snapshots.
"""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from typing import Protocol

from pydantic import Field

from hornbeam.arguments import described
from hornbeam.errors import WorldError
from hornbeam.tree.task import Task
from hornbeam.worlds.shell_commands import Ran
from hornbeam.worlds.world_kind import START, Snapshot, WorldKind


class SandboxService(Protocol):
    """Makes and ends sandboxes and snapshots of them, which are known by names of its own.

    All raise `WorldError` of one line where it fails. Several threads call at once, one at a time
    for each sandbox.
    """

    def create(self, template: str) -> str:
        """A new sandbox, as the template says ("": the service's own)."""

    def exec(self, sandbox: str, command: str, stdin: str, seconds: float) -> Ran:
        """Run a command of the shell. `ToolError` where it takes longer, and then it is ended."""

    def write(self, sandbox: str, path: str, data: bytes) -> None:
        """Write a file, its folders with it."""

    def read(self, sandbox: str, path: str) -> bytes:
        """What a file holds."""

    def snapshot(self, sandbox: str) -> str:
        """A snapshot of a sandbox, which goes on."""

    def fork(self, snapshot: str) -> str:
        """Another sandbox, as a snapshot has it."""

    def forget(self, snapshot: str) -> None:
        """Delete a snapshot."""

    def destroy(self, sandbox: str) -> None:
        """End a sandbox; no error where it is gone."""


class RemoteSandbox:
    """What tools of such a world get: a sandbox of a service, by its `name` there.

    Where the service failed in a call, nobody knows the state any more: all calls fail then.
    """

    def __init__(self, service: SandboxService, name: str, seconds: float) -> None:
        self.service, self.name, self.seconds = service, name, seconds
        self.lost = ""

    def __repr__(self) -> str:
        return f"<RemoteSandbox {self.name}>"

    def run(self, command: str, stdin: str = "", seconds: float | None = None) -> Ran:
        """Run a command of the shell. `ToolError` where it takes longer than `seconds`."""
        most = min(seconds or self.seconds, self.seconds)
        self.known()
        try:
            return self.service.exec(self.name, command, stdin, most)
        except WorldError as error:
            self.lost = str(error)
            raise

    def write(self, path: str, text: str) -> None:
        """Write a file."""
        self.known()
        try:
            self.service.write(self.name, path, text.encode())
        except WorldError as error:
            self.lost = str(error)
            raise

    def read(self, path: str) -> str:
        """The text of a file. `FileNotFoundError` where there is none."""
        self.known()
        return self.service.read(self.name, path).decode("utf-8", "replace")

    def known(self) -> None:
        """Raise `WorldError` where nobody knows its state."""
        if self.lost:
            raise WorldError(self.lost)


class RemoteWorld(WorldKind):
    """A sandbox for each episode, of the `template`, or of the task's own in its data.

    `task.data["world"]` is texts by path, as for folders. A command may take `seconds`. How much
    snapshots hold is known to the service alone: `keep` and `most` do not bound them.
    """

    template: str = ""
    seconds: float = Field(10.0, gt=0)

    @abstractmethod
    def service(self) -> SandboxService:
        """Who makes the sandboxes: the same one each time in a process."""

    def open(self, task: Task) -> RemoteSandbox:
        """A new sandbox. Raises `WorldError`."""
        files = task.data.get(START) or {}
        if not isinstance(files, Mapping):
            raise WorldError(f'task.data["world"] is {described(files)}: texts by path are due')
        service = self.service()
        name = service.create(str(task.data.get("template") or self.template))
        world = RemoteSandbox(service, name, self.seconds)
        try:
            for path, text in files.items():
                world.write(str(path), str(text))
        except BaseException:
            self.close(world)
            raise
        return world

    def snapshot(self, world: RemoteSandbox) -> Snapshot:
        """One of the service. Raises `WorldError`."""
        world.known()
        return Snapshot(world.service.snapshot(world.name), 0)

    def restore(self, data: str, task: Task) -> RemoteSandbox:
        """Another sandbox."""
        service = self.service()
        return RemoteSandbox(service, service.fork(data), self.seconds)

    def drop(self, data: str) -> None:
        """Delete the snapshot, in a thread: whoever drops it does not wait."""
        threading.Thread(None, self._forgotten, "forget a snapshot", (data,)).start()

    def _forgotten(self, data: str) -> None:
        with suppress(WorldError):  # the service ends what is left
            self.service().forget(data)

    def close(self, world: RemoteSandbox) -> None:
        """End the sandbox."""
        world.service.destroy(world.name)

    def portable(self, world: RemoteSandbox, text: str) -> str:
        """Without the name of the sandbox."""
        return text.replace(world.name, "sandbox")
