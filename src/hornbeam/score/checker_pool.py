"""Third-party checkers in processes that can be killed: a check ends in time or its process does.

Processes start when first needed, serve one check at a time, and are killed when the check takes
too long; the next check starts a new one. None is left when the pool is closed, forgotten, or the
interpreter ends. Works from any thread and any event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hornbeam.errors import ScoreError
from hornbeam.own.given_objects import GIVEN
from hornbeam.own.object_names import origin
from hornbeam.workers import left_behind
from hornbeam.workers.bounded_output import pass_on

if TYPE_CHECKING:
    from hornbeam.score.thread_worker import ThreadWorker

# -P: the folder of the script is no place to import from
COMMAND = (sys.executable, "-P", str(Path(__file__).with_name("check_process.py")))
LONGEST = 8 << 20  # bytes of an answer
MOST_PRINTED = 1 << 18  # bytes of what one process prints that are passed on
START_SECONDS = 60.0  # for a process to load its libraries


class NoVerdict(Exception):
    """The checker did not judge; `kind` is "timeouts" or "crashes"."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class _Worker:
    """One checker process."""

    def __init__(self, *rule: str) -> None:
        function = rule[0] == "function"  # a user's own: imported as here, what it prints is seen
        own = os.pathsep.join(each for each in sys.path if each)
        left_behind.mark()  # for what it starts in sessions of its own
        self.process = subprocess.Popen(
            [*COMMAND, *rule],
            env={**os.environ, "PYTHONPATH": own} if function else None,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if function else subprocess.DEVNULL,
            start_new_session=True,  # ctrl-C is for us: verdicts under way still count
        )

        self._held = b""  # read, and not of a line yet
        self._printed: threading.Thread | None = None
        if self.process.stderr is not None:
            stderr = os.dup(self.process.stderr.fileno())
            self.process.stderr.close()
            self._printed = pass_on(stderr, 2, "a reward", MOST_PRINTED)

    def read(self, seconds: float) -> str:
        """The next line; raises `NoVerdict` when it does not come in time, or ever.

        That its output ends is not waited for: a child that it left may hold it open.
        """
        until = time.monotonic() + seconds
        while b"\n" not in self._held:
            try:
                left = until - time.monotonic()
                if left <= 0 or not _has_come(self.process.stdout.fileno(), left):  # type: ignore[union-attr]
                    raise NoVerdict("timeouts" if self.process.poll() is None else "crashes")
                piece = os.read(self.process.stdout.fileno(), 1 << 16)  # type: ignore[union-attr]
            except (OSError, ValueError) as error:  # it was ended meanwhile
                raise NoVerdict("crashes") from error
            self._held += piece
            if not piece or len(self._held) > LONGEST:
                raise NoVerdict("crashes")
        line, _, self._held = self._held.partition(b"\n")
        return line.decode("utf-8", "replace") + "\n"

    def send(self, text: str) -> None:
        """Write one line."""
        if self._held:  # more than it was asked for
            raise NoVerdict("crashes")
        try:
            self.process.stdin.write(text.encode() + b"\n")  # type: ignore[union-attr]
            self.process.stdin.flush()  # type: ignore[union-attr]
        except OSError as error:
            raise NoVerdict("crashes") from error

    def end(self) -> None:
        """Kill the process and those that it started, and wait for it."""
        with contextlib.suppress(OSError):
            os.killpg(self.process.pid, signal.SIGKILL)  # the leader of its own session
        self.process.kill()
        self.process.wait()
        if self._printed is not None:
            self._printed.join(0.2)
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]


def _has_come(file: int, seconds: float) -> bool:
    """Wait for something to read, or the end, at most so long."""
    if not hasattr(select, "poll"):
        return bool(select.select([file], [], [], seconds)[0])
    waits = select.poll()
    waits.register(file, select.POLLIN)
    return bool(waits.poll(seconds * 1000))


def _start(*rule: str) -> _Worker | ThreadWorker:
    """A process that checks, or a thread for a function that no process can load."""
    if rule[0] == "function" and Path(rule[1]).name == GIVEN:
        from hornbeam.score.thread_worker import ThreadWorker

        file, name = origin(rule[2])
        if file == GIVEN:
            return ThreadWorker(*rule[1:])
        rule = ("function", file, name, *rule[3:])
    return _Worker(*rule)


def _end_all(workers: set[_Worker | ThreadWorker]) -> None:
    while workers:
        workers.pop().end()


class Pool:
    """`workers` checker processes for one rule, `seconds` for one check.

    `rule` is a name, or "function", its file, its name and its settings as JSON.
    """

    def __init__(self, rule: str, workers: int = 1, seconds: float = 5.0) -> None:
        self.rule: tuple[str, ...] = (rule,)
        self.workers = workers
        self.seconds = seconds
        self._all: set[_Worker | ThreadWorker] = set()
        self._idle: queue.SimpleQueue[_Worker | ThreadWorker] = queue.SimpleQueue()
        self._threads: ThreadPoolExecutor | None = None
        self._finalizer = weakref.finalize(self, _end_all, self._all)

    async def check(self, request: Mapping[str, Any]) -> float:
        """The verdict on one request (see `hornbeam.score.check_process`), a number.

        Raises as `ask` does.
        """
        return float(await self.ask(request))

    async def ask(self, request: Mapping[str, Any], seconds: float | None = None) -> Any:
        """What the checker answers to a request, within so many seconds (else the pool's own).

        Raises `NoVerdict` when there is none in time or the checker failed or died over it, and
        `ScoreError` when checkers cannot be started at all.
        """
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self.workers, "hornbeam-check")
        limit = self.seconds if seconds is None else seconds
        loop, text = asyncio.get_running_loop(), self._text(request, limit)
        return await loop.run_in_executor(self._threads, self._check, text, limit)

    def ask_now(self, request: Mapping[str, Any]) -> Any:
        """As `ask`, without a loop of events: nothing else is asked meanwhile."""
        return self._check(self._text(request, self.seconds), self.seconds)

    def _text(self, request: Mapping[str, Any], seconds: float) -> str:
        return json.dumps({**request, "rule": self.rule[0], "seconds": seconds})

    def pids(self) -> list[int]:
        """The ids of the processes that run now."""
        return [worker.process.pid for worker in self._all if isinstance(worker, _Worker)]

    async def aclose(self) -> None:
        """Kill all processes; a check under way gets no verdict."""
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=False, cancel_futures=True)
            _end_all(self._all)
            await asyncio.to_thread(threads.shutdown)
            _end_all(self._all)
        self._idle = queue.SimpleQueue()

    def _check(self, text: str, seconds: float) -> Any:
        worker = self._take()
        try:
            worker.send(text)
            verdict = json.loads(worker.read(seconds))
        except (ValueError, RecursionError) as error:  # not the words of a checker
            self._all.discard(worker)
            worker.end()
            raise NoVerdict("crashes") from error
        except BaseException:
            self._all.discard(worker)
            worker.end()
            raise
        self._idle.put(worker)
        if verdict is None:
            raise NoVerdict("crashes")
        return verdict

    def _take(self) -> _Worker | ThreadWorker:
        """An idle process, or a new one; the threads bound how many there are."""
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            worker = _start(*self.rule)
        self._all.add(worker)
        try:
            if (said := worker.read(START_SECONDS)).startswith("unfit"):
                if len(self.rule) > 1:
                    raise ScoreError(f"the reward is {said.strip()}")
                raise ScoreError(
                    f"math-verify is {said.strip()}: install the versions of math-verify and"
                    " antlr4-python3-runtime that constraints.txt names"
                )
        except ScoreError:
            self._all.discard(worker)
            worker.end()
            raise
        except NoVerdict as error:
            self._all.discard(worker)
            worker.end()
            raise ScoreError(
                "the answer checker does not start; to see why, run"
                f" {' '.join([*COMMAND, *self.rule])}"
            ) from error
        return worker
