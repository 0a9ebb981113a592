"""The event loop that a job runs, which another thread can stop: as Ctrl-C does in a notebook."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
GRACE = 2.0  # seconds that a job has to come back to its loop
_LOOPS: dict[int, asyncio.AbstractEventLoop] = {}  # that run now, by their threads


class Interrupted(KeyboardInterrupt):
    """Another thread asked for it: no program raised it."""


def run_loop(coroutine: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`; `interrupt` reaches it."""
    thread = threading.get_ident()
    with asyncio.Runner() as runner:
        _LOOPS[thread] = runner.get_loop()
        try:
            return runner.run(coroutine)
        finally:
            del _LOOPS[thread]


def interrupt(thread: threading.Thread) -> None:
    """Raise KeyboardInterrupt in a thread, as Python does it in the main one, and wait for its end.

    Its loop raises it when it is there; a job that computes for longer is interrupted where it is.
    """
    assert thread.ident is not None
    loop = _LOOPS.get(thread.ident)
    if loop is not None:
        with contextlib.suppress(RuntimeError):  # it is closed by now
            loop.call_soon_threadsafe(_raise)
        thread.join(GRACE)
    if thread.is_alive():
        error = ctypes.py_object(Interrupted)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), error)
    thread.join()


def _raise() -> None:
    raise Interrupted
