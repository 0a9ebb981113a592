"""What code of others leaves behind: processes and threads that would outlive the run.

Processes that programs and tools start, and that still run when this one ends, end with it: those
that began with our mark in their environment, and forks of this process, which hold our pipe. On
Linux alone: elsewhere nothing is found. A run that is killed leaves them.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from uuid import uuid4

from hornbeam.files.terminal import tell

MARK = "HORNBEAM_RUN_MARK"  # variable of the environment
ROUNDS = 20  # of ending what is found, as it may start others meanwhile
PATIENCE = 5.0  # seconds that threads have to end

_marked: dict[int, tuple[bytes, str]] = {}  # by process: its entry and its pipe


def mark() -> None:
    """Mark what is started from now on."""
    if os.getpid() in _marked:
        return
    read, _ = (
        os.pipe()
    )  # both ends stay open here and in forks, and close where another program runs
    name = os.environ[MARK] = uuid4().hex
    _marked[os.getpid()] = (
        f"{MARK}={name}".encode(),
        os.readlink(f"/proc/self/fd/{read}") if (sys.platform == "linux") else "",
    )
    atexit.register(end_processes)


def end_processes() -> int:
    """End what was left behind, and what that starts meanwhile; how many there were."""
    ended: set[int] = set()
    if os.getpid() not in _marked or sys.platform != "linux":
        return 0
    entry, pipe = _marked[os.getpid()]
    for _ in range(ROUNDS):
        found = [number for number in _others() if _is_ours(number, entry, pipe)]
        for number in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(number, signal.SIGKILL)
        ended.update(found)
        if not found:
            break
        time.sleep(0.01)
    return len(ended)


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


def _others() -> Iterator[int]:
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if not name.isdigit() or int(name) == os.getpid():
                continue
            state = _text(f"/proc/{name}/stat").rpartition(b")")[2].split()[0]
            if state != b"Z" and os.stat(f"/proc/{name}").st_uid == os.getuid():
                yield int(name)


def _is_ours(number: int, entry: bytes, pipe: str) -> bool:
    with contextlib.suppress(OSError):
        if entry in _text(f"/proc/{number}/environ").split(b"\0"):
            return True
        for each in os.listdir(f"/proc/{number}/fd"):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{number}/fd/{each}") == pipe:
                    return True
    return False


def _text(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
