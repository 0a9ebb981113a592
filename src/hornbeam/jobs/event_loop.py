"""The event loop that a job runs, which another thread can stop: as Ctrl-C does in a notebook."""

from __future__ import annotations

import asyncio
import ctypes
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
_LOOPS: dict[int, asyncio.AbstractEventLoop] = {}  # that run now, by their threads


def run_loop(coroutine: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`; `interrupt` reaches it."""
    thread = threading.get_ident()
    with asyncio.Runner() as runner:
        _LOOPS[thread] = runner.get_loop()
        try:
            return runner.run(coroutine)
        finally:
            del _LOOPS[thread]


def interrupt(thread: int) -> None:
    """Raise KeyboardInterrupt in a thread, as Python does it in the main one.

    A loop that waits for something is woken: the exception is raised where code runs.
    """
    error = ctypes.py_object(KeyboardInterrupt)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), error)
    if (loop := _LOOPS.get(thread)) is not None:
        loop.call_soon_threadsafe(lambda: None)
