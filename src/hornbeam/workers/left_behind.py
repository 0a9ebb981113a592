"""What code of others leaves behind: processes and threads that would outlive the run.

Processes that programs and tools start, and that still run when this one ends, end with it: those
that began with our mark in their environment, and forks of this process, which hold our pipe. On
Linux alone: elsewhere nothing is found. A run that is killed leaves them.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
import time
from collections.abc import Sequence
from uuid import uuid4

from hornbeam.files.terminal import tell
from hornbeam.workers.marked_processes import end_marked

MARK = "HORNBEAM_RUN_MARK"  # variable of the environment
PATIENCE = 5.0  # seconds that threads have to end

_marked: dict[int, tuple[str, str]] = {}  # by process: its entry and its pipe


def mark() -> None:
    """Mark what is started from now on."""
    if os.getpid() in _marked:
        return
    read, _ = (
        os.pipe()
    )  # both ends stay open here and in forks, and close where another program runs
    name = os.environ[MARK] = uuid4().hex
    _marked[os.getpid()] = (
        f"{MARK}={name}",
        os.readlink(f"/proc/self/fd/{read}") if (sys.platform == "linux") else "",
    )
    atexit.register(end_processes)


def end_processes() -> int:
    """End what was left behind, and what that starts meanwhile; how many there were."""
    if os.getpid() not in _marked or sys.platform != "linux":
        return 0
    entry, pipe = _marked[os.getpid()]
    return end_marked(entry, pipe=pipe)


def end_threads(code: int, before: Sequence[threading.Thread]) -> None:
    """End this process where a thread that began behind these keeps it from ending, after a moment.

    A caller of its own (a script, a test) has threads from before, and goes on.
    """
    until = time.monotonic() + PATIENCE

    def staying() -> list[threading.Thread]:
        return [t for t in threading.enumerate() if t not in before and not t.daemon]

    for thread in staying():
        thread.join(max(0.0, until - time.monotonic()))
    if not (left := staying()):
        return
    tell(f"hornbeam: thread {left[0].name!r} does not end: left to itself", err=True)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
