"""Code of others on a thread that all episodes share: bounded, and left as it was found.

A program's steps, and tools that run on the event loop, have a turn each. One that is not over in
time is interrupted by `Overrun`, again and again until it ends, so that code which swallows
everything ends too. In the main thread a signal brings it, which breaks off sleeps, waits and
regular expressions; in other threads it comes when they are back in Python. Nothing here interrupts
code in C that looks at no signals: that needs a process of its own.
"""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import dis
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Coroutine, Generator
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from types import FrameType, TracebackType
from typing import Any

handler_of: Any = import_module("_signal").getsignal  # as `signal` has it, without enumerations
LOOK = 0.1  # seconds between two looks at who is late
SIGNAL = getattr(signal, "SIGURG", None)  # which nothing else minds
BUSY = getattr(signal, "SIGVTALRM", None)  # comes from a timer, where C code lets no thread run
HEARD = tuple(number for number in (SIGNAL, BUSY) if number is not None)
STOPS = (signal.SIGINT, signal.SIGTERM)

_slices: dict[int, TimeSlice] = {}  # by thread, the one that runs there
_watch: list[threading.Thread] = []  # at most one
_ending: list[bool] = []  # whether this process does
_timer = [math.inf]  # when the timer comes, at the earliest
_main = [threading.main_thread().ident]
_forks = [0]  # that this process comes from, since it has this module


class Overrun(BaseException):
    """Code did not give the thread back in time. No `Exception`: it is not meant for that code."""


@dataclass(slots=True)
class TimeSlice:
    """So many seconds at most, for the length of a block.

    Behind it handlers of signals and the working folder are as before, and a process that was
    forked in it has ended.
    """

    seconds: float
    until: float = 0.0
    frame: FrameType | None = None  # whose block it is
    interrupts: int = 0
    _before: TimeSlice | None = None
    _was: tuple[Any, ...] = ()
    _traced: tuple[Any, Any] = (None, None)

    @property
    def words(self) -> str:
        """What is said of one that is over."""
        return f"it held the run for more than {self.seconds:g} s"

    def __enter__(self) -> TimeSlice:
        thread = threading.get_ident()
        main = thread == _main[0]
        handlers = tuple(map(handler_of, STOPS)) if main else ()
        self._was = _forks[0], working_folder(), handlers
        self._traced = sys.gettrace(), sys.getprofile()
        self._before, self.frame = _slices.get(thread), sys._getframe(1)
        now = time.monotonic()
        self.until = now + self.seconds
        if not _watch or (main and [*map(handler_of, HEARD)] != _hearing):
            _look(main)
        if main and not now < _timer[0] <= self.until:  # one that is late came for no slice
            _set_timer(self.seconds)
        _slices[thread] = self
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        thread = threading.get_ident()
        if self._before is None:
            _slices.pop(thread, None)
        else:
            _slices[thread] = self._before
        self.frame = self._before = None
        forks, folder, handlers = self._was
        if self.interrupts > 1:
            sys.setprofile(self._traced[1])
            sys.settrace(self._traced[0])
        if _forks[0] != forks:
            os._exit(0)
        go_back(folder)
        for number, handler in zip(STOPS, handlers):
            if handler is not None and handler_of(number) is not handler:
                signal.signal(number, handler)


def in_slice() -> bool:
    """Whether code of others runs in this thread."""
    return threading.get_ident() in _slices


def is_interrupt(error: BaseException) -> bool:
    """Whether a `KeyboardInterrupt` is one, and not raised by the code that was running."""
    if not isinstance(error, KeyboardInterrupt):
        return False
    if type(error) is not KeyboardInterrupt:  # who interrupts a thread raises a kind of its own
        return True
    main = threading.current_thread() is threading.main_thread()
    if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        return True  # nobody can tell
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return last is not None and last.tb_frame.f_code.co_name == "_on_sigint"  # of asyncio


def working_folder() -> str:
    """The folder that this process works in, "" where it is gone."""
    try:
        return os.getcwd()
    except OSError:
        return ""


def go_back(folder: str) -> None:
    """Work in that folder again."""
    if folder and working_folder() != folder:
        with suppress(OSError):
            os.chdir(folder)


def _look(main: bool) -> None:
    """See that somebody looks at who is late, and that the main thread hears of it."""
    for number in HEARD if main else ():
        if handler_of(number) is not _heard:
            signal.signal(number, _heard)
    if not _watch:
        _watch[:] = [threading.Thread(target=_watching, name="time slices", daemon=True)]
        _watch[0].start()


def _set_timer(seconds: float) -> None:
    """Let the timer come after so many seconds of the processor, and again and again; 0: never.

    Slices that end in time leave it as it is: one that comes later in none is the last. Before
    Python takes its handlers away it is stopped, as it would end the process.
    """
    if BUSY is not None and not _ending:
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds, LOOK if seconds else 0)
        _timer[0] = time.monotonic() + seconds if seconds else math.inf


@atexit.register
def _end_timer() -> None:
    _set_timer(0)
    _ending.append(True)


def _forked() -> None:
    """A fork has no timer and one thread."""
    _timer[0], _main[0] = math.inf, threading.get_ident()
    _forks[0] += 1
    _watch.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def _watching() -> None:
    while True:
        time.sleep(LOOK)
        for thread, late in list(_slices.items()):
            if time.monotonic() >= late.until:
                _interrupt(thread, late)


def _interrupt(thread: int, late: TimeSlice) -> None:
    if _slices.get(thread) is not late:
        return
    if thread == threading.main_thread().ident and SIGNAL is not None:
        signal.pthread_kill(thread, SIGNAL)
    elif _is_inside(sys._current_frames().get(thread), late):
        error = ctypes.py_object(Overrun)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), error)


def _heard(number: int, frame: FrameType | None) -> None:
    """The main thread is interrupted: raise where the time slice still runs."""
    late, now = _slices.get(threading.get_ident()), time.monotonic()
    if late is None or now < late.until:
        if number == BUSY:
            _set_timer(0 if late is None else max(LOOK, late.until - now))
        return
    if not _is_inside(frame, late):
        _slices.pop(threading.get_ident(), None)  # it ended as it was interrupted
    elif frame is not None and frame.f_code is not TimeSlice.__exit__.__code__:
        late.interrupts += 1
        if late.interrupts > 1:  # the first one was swallowed, or it cleans up for too long
            _raise_outside_of_try(frame, late)
        raise Overrun(late.words)


_hearing = [_heard] * len(HEARD)


def _raise_outside_of_try(frame: FrameType | None, late: TimeSlice) -> None:
    """Raise again at the next line that stands in no `try` of its function."""

    def trace(at: FrameType, event: str, argument: Any) -> Any:
        if at.f_code.co_filename == __file__:
            return None
        if event == "line" and not _is_covered(at):
            raise Overrun(late.words)
        return trace

    def again(at: FrameType, event: str, argument: Any) -> None:
        if sys.gettrace() is None:  # Python takes it away as it raises, and the caller may swallow
            sys.settrace(trace)

    while frame is not None and frame is not late.frame:
        frame.f_trace = trace
        frame = frame.f_back
    sys.setprofile(again)
    sys.settrace(trace)


def _is_covered(frame: FrameType) -> bool:
    """Whether it stands in a `try`; entries with `lasti` but clean up and raise on."""
    read: Any = getattr(dis, "_parse_exception_table", lambda code: ())
    places = (each for each in read(frame.f_code) if not each.lasti)
    return any(each.start <= frame.f_lasti < each.end for each in places)


def _is_inside(frame: FrameType | None, late: TimeSlice) -> bool:
    while frame is not None and frame is not late.frame:
        frame = frame.f_back
    return frame is not None


class InSlices:
    """Awaits work whose steps have a time slice each; with `give_up` there is no further one."""

    def __init__(self, work: Coroutine[Any, Any, Any], seconds: float) -> None:
        self._work, self._seconds, self.give_up = work, seconds, False

    def __await__(self) -> Generator[Any, Any, Any]:
        error: BaseException | None = None
        while True:
            if self.give_up:
                close(self._work, self._seconds)
                raise asyncio.CancelledError
            with TimeSlice(self._seconds):
                try:
                    waited = self._work.send(None) if error is None else self._work.throw(error)
                except StopIteration as done:
                    return done.value
            error = None
            try:
                yield waited
            except BaseException as thrown:
                error = thrown


def close(work: Any, seconds: float) -> None:
    """Close a coroutine; one that does not end by that is kept, as it would be closed again."""
    try:
        with TimeSlice(seconds):
            work.close()
    except BaseException as error:
        if is_interrupt(error):
            raise
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(work))
