"""Processes that end with the one that started them, however that ended."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress

LOOK = 1.0  # seconds between two looks

LAUNCHER = "HORNBEAM_LAUNCHER"  # variable with the process id of who started the ranks


def live_with(pid: int) -> None:
    """End this process, at once, when process `pid` has ended; a thread looks after it."""
    child = os.getppid() == pid
    threading.Thread(target=_watch, args=(pid, child), name="parent", daemon=True).start()


def _watch(pid: int, child: bool) -> None:
    with suppress(ProcessLookupError):
        while not child or os.getppid() == pid:  # a parent whom nobody has awaited is still there
            os.kill(pid, 0)
            time.sleep(LOOK)
    os._exit(1)
