"""All agents of one run: the folder of their folders, and who ends them when the run is killed."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

from hornbeam.workers import marked_processes

WATCHDOG = marked_processes.__file__


class AgentGroup:
    """The agents of one run. `mark` is in the environment of each of them."""

    def __init__(self) -> None:
        self.mark = f"HORNBEAM_RUN={secrets.token_hex(8)}"
        self._root: Path | None = None
        self._watchdog: asyncio.subprocess.Process | None = None
        self._starting = asyncio.Lock()
        self._dropping: set[asyncio.Future[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What each agent finds in its environment."""
        name, _, value = self.mark.partition("=")
        return {name: value}

    async def start(self) -> None:
        """Begin to watch over them; a second start is nothing."""
        async with self._starting:
            if self._watchdog is not None:
                return
            self._loop = asyncio.get_running_loop()
            self._root = Path(tempfile.mkdtemp(prefix="hornbeam-agents-"))
            self._watchdog = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", WATCHDOG, self.mark, str(self._root)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )

    def folder(self) -> Path:
        """A fresh folder for one agent."""
        assert self._root is not None
        return Path(tempfile.mkdtemp(prefix="agent-", dir=self._root))

    def drop(self, folder: Path) -> None:
        """Remove a folder of theirs, beside other work: who knows what lies in it."""
        assert self._loop is not None
        try:
            removed = self._loop.run_in_executor(None, shutil.rmtree, folder, True)
        except RuntimeError:  # the loop is at its end
            shutil.rmtree(folder, ignore_errors=True)
            return
        self._dropping.add(removed)
        removed.add_done_callback(self._dropping.discard)

    async def aclose(self) -> None:
        """End all that is left of them."""
        if self._dropping:
            await asyncio.wait(self._dropping)
        if self._watchdog is None:
            return
        assert self._watchdog.stdin is not None
        with contextlib.suppress(OSError):
            self._watchdog.stdin.close()
        await self._watchdog.wait()
        self._watchdog = None
