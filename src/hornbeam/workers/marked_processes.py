"""Processes that began with a mark, a NAME=VALUE, in their environment: found, and ended.

So is found what an agent, a program or a tool leaves behind in sessions of its own. On Linux alone:
elsewhere nothing is found. What began with an environment of its own is found by a pipe alone.

`python marked_processes.py MARK FOLDER` waits until its standard input closes, which the system
does for a run that is killed, too; then it ends them and removes FOLDER, in which agents ran.

Standard library alone: it starts in some hundredths of a second.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Iterator

SECONDS = 1.0  # between two looks at who the parent is
ROUNDS = 20  # of ending what is found, as it may start others meanwhile


def marked(mark: str, run: str = "", folder: str = "", pipe: str = "") -> Iterator[int]:
    """Processes of this user with NAME=VALUE `mark` in the environment that they began with.

    Also those with `run` in it that work in `folder`: a fork has its parent's environment there.
    And those that hold `pipe` (a link in /proc, "pipe:[1234]"): forks of who made it.
    """
    me, wanted, shared = os.getpid(), _entry(mark), _entry(run)
    try:
        numbers = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return
    for number in numbers:
        with contextlib.suppress(OSError):
            if number == me or os.stat(f"/proc/{number}").st_uid != os.getuid():
                continue
            with open(f"/proc/{number}/environ", "rb") as file:
                began = b"\0" + file.read() + b"\0"
            if (
                wanted in began
                or (folder and shared in began and _inside(_link(number, "cwd"), folder))
                or (pipe and _holds(number, pipe))
            ):
                yield number


def _entry(text: str) -> bytes:
    return b"\0" + os.fsencode(text) + b"\0"


def _link(number: int, name: str) -> str:
    return os.readlink(f"/proc/{number}/{name}")


def _holds(number: int, pipe: str) -> bool:
    for each in os.listdir(f"/proc/{number}/fd"):
        with contextlib.suppress(OSError):  # closed meanwhile
            if _link(number, f"fd/{each}") == pipe:
                return True
    return False


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + os.sep)


def end_marked(mark: str, run: str = "", folder: str = "", pipe: str = "") -> int:
    """End those processes, and what they start meanwhile; how many there were."""
    ended: set[int] = set()
    for _ in range(ROUNDS):
        numbers = list(marked(mark, run, folder, pipe))
        for number in numbers:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(number, signal.SIGKILL)
        ended.update(numbers)
        if not numbers:
            break
        time.sleep(0.01)
    return len(ended)


def wait(parent: int) -> None:
    """Until standard input closes, or the parent is another process."""
    while os.getppid() == parent:
        if select.select([0], [], [], SECONDS)[0] and not os.read(0, 4096):
            return


def main(mark: str, folder: str) -> None:
    """Wait, then end all and clean up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # these go to a whole group: the run decides
    wait(os.getppid())
    end_marked(mark)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:3])
