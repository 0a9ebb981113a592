"""Runs a command of the shell in a folder, with limits; what it leaves running is ended.

Limits are the kernel's own (`ulimit`; it does not hold root to a number of processes), time is real
time. Where the kernel allows namespaces (`unshare`), a command has processes of its own, none of
which outlives it, and without `network` no network. Elsewhere its process group is ended, which a
process may leave. This is no wall against malice: commands read what their user can read.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pydantic import Field

from hornbeam.errors import ToolError, WorldError
from hornbeam.settings import Settings

SAME = {  # what would differ each time a command is run
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",
    **{f"GIT_{who}_DATE": "2000-01-01T00:00:00Z" for who in ("AUTHOR", "COMMITTER")},
}


class CommandLimits(Settings):
    """What a command may use; `None` is no limit. `network` is whether it has one."""

    seconds: float = Field(10.0, gt=0)
    memory_mb: int | None = Field(None, ge=1)  # of one process, address space
    file_mb: int | None = Field(None, ge=1)  # one file
    processes: int | None = Field(None, ge=1)
    network: bool = True
    output: int = Field(20_000, ge=1)  # characters that are kept


NO_LIMITS = CommandLimits()


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command wrote, errors too, and its exit code (negative: the signal that ended it)."""

    output: str
    code: int

    def __str__(self) -> str:
        return self.output


def run_command(
    command: str, folder: Path, limits: CommandLimits, stdin: str = "", seconds: float | None = None
) -> Ran:
    """Run a command of the shell in a folder.

    Raises `ToolError` where it takes too long, `WorldError` where there is no folder or no shell.
    """
    most = min(seconds or limits.seconds, limits.seconds)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as given:
        given.write(stdin.encode())
        given.seek(0)
        try:
            process = subprocess.Popen(
                [*_prefix(limits.network), "/bin/sh", "-c", _limited(limits), "sh", command],
                cwd=folder,
                stdin=given,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=_environment(folder),
            )
        except (OSError, subprocess.SubprocessError) as error:
            gone = "" if folder.is_dir() else "it is gone, a tool has deleted it: "
            raise WorldError(f"the world's folder runs no command: {gone}{error}") from error
        try:
            code = process.wait(most)
        except subprocess.TimeoutExpired:
            raise ToolError(
                f"{command.split()[0] if command.split() else ''} took longer than {most:g} s"
            ) from None
        finally:
            _end(process)
        return Ran(_read(out, limits.output), code)


def _environment(folder: Path) -> dict[str, str]:
    """What a command is told; its temporary files belong to the folder, so forks have them."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
    temporary = folder / ".tmp"
    with contextlib.suppress(FileNotFoundError):  # the folder is gone
        temporary.mkdir(exist_ok=True)
    own = {"HOME": str(folder), "TMPDIR": str(temporary)}
    return {**kept, **own, **SAME}


def _prefix(network: bool) -> list[str]:
    """What starts a command in namespaces of its own, where there are some."""
    if not namespaces():
        return []
    own = [] if network else ["--net"]
    return ["unshare", *namespaces(), *own, "--pid", "--fork", "--kill-child", "--"]


@functools.cache
def namespaces() -> tuple[str, ...]:
    """How `unshare` makes namespaces here; empty where the kernel allows none."""
    if shutil.which("unshare") is None:
        return ()
    for how in (("--user", "--map-current-user"), ("--ipc",)):
        tried = ["unshare", *how, "--net", "--pid", "--fork", "--kill-child", "--", "true"]
        if not subprocess.run(tried, capture_output=True, check=False).returncode:
            return how
    return ()


def _limited(limits: CommandLimits) -> str:
    """A script that sets limits and becomes the command, its first argument."""
    wanted = ["ulimit -c 0", f"ulimit -t {int(limits.seconds) + 1}"]
    if limits.memory_mb is not None:
        wanted.append(f"ulimit -v {limits.memory_mb * 1000}")
    if limits.file_mb is not None:
        wanted.append(f"ulimit -f {limits.file_mb * 1953}")  # blocks of 512 bytes
    if limits.processes is not None:  # one letter in bash, another in dash
        wanted.append(f"{{ ulimit -u {limits.processes} || ulimit -p {limits.processes}; }}")
    return "; ".join(f"{each} 2>/dev/null" for each in wanted) + '; exec /bin/sh -c "$1"'


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what a command left running."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _read(out: IO[bytes], most: int) -> str:
    """What was written, the middle left out where it is long."""
    size = out.seek(0, os.SEEK_END)
    out.seek(0)
    if size <= most:
        return out.read().decode("utf-8", "replace")
    head = out.read(most // 2).decode("utf-8", "replace")
    out.seek(size - most // 2)
    tail = out.read().decode("utf-8", "replace")
    return f"{head}\n... {size - most} bytes left out ...\n{tail}"
