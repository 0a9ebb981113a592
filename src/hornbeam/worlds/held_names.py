"""What a process holds at a service, in a file: if it is killed, the next one gives it back.

A line each: "+ kind name" when it is there, "- kind name" when it is gone. The file is locked while
its process lives. It names the service and holds no key.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from hornbeam.errors import WorldError

PREFIX = "hornbeam-sandboxes-"
Held = tuple[str, str]  # (kind, name)


class HeldNames:
    """Those of this process at the service with this address."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._one, self._now = threading.Lock(), dict.fromkeys(list[Held]())
        number, name = tempfile.mkstemp(prefix=f".{PREFIX}")
        self._file = os.fdopen(number, "w", encoding="utf-8")
        self._path = Path(name).with_name(Path(name).name.removeprefix("."))
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._write(address)
        Path(name).rename(self._path)  # from now on others may look at it

    def _write(self, line: str) -> None:
        self._file.write(f"{line}\n")
        self._file.flush()

    def add(self, kind: str, name: str) -> None:
        """This is there."""
        with self._one:
            self._now[kind, name] = None
            self._write(f"+ {kind} {name}")

    def remove(self, kind: str, name: str) -> None:
        """It is gone."""
        with self._one:
            self._now.pop((kind, name), None)
            self._write(f"- {kind} {name}")

    def now(self) -> list[Held]:
        """What is there."""
        with self._one:
            return [*self._now]

    def end(self) -> None:
        """Delete the file, unless something is left."""
        if not self.now():
            self._path.unlink(missing_ok=True)
        self._file.close()

    def left_by_others(self, give_back: Callable[[str, str], None]) -> None:
        """Give back what dead processes held at this service; what fails is tried by the next."""
        for path in self._path.parent.glob(f"{PREFIX}*"):
            try:
                with path.open("r", encoding="utf-8") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    address, *lines = file.read().splitlines() or [""]
                    if address != self.address:
                        continue
                    for kind, name in _left(lines):
                        give_back(kind, name)
                    path.unlink()
            except (OSError, WorldError):  # it lives, is another user's, or the service refuses
                continue


def _left(lines: list[str]) -> list[Held]:
    found: dict[Held, None] = {}
    for line in lines:
        sign, _, rest = line.partition(" ")
        kind, _, name = rest.partition(" ")
        if sign == "+" and name:
            found[kind, name] = None
        else:
            found.pop((kind, name), None)
    return [*found]
