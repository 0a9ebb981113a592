"""Runs a job where an event loop may be running already, as in a notebook: in a thread there."""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def outside_loop(job: Callable[[], T]) -> T:
    """What the job gives, which may run event loops of its own. Ctrl-C stops it in either case."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return job()
    with ThreadPoolExecutor(1, "hornbeam-job") as threads:
        held: list[int] = []
        work = threads.submit(_noted, job, held)
        try:
            return work.result()
        except KeyboardInterrupt:
            _interrupt(held)
            raise


def _noted(job: Callable[[], T], held: list[int]) -> T:
    """The job in this thread, whose id is noted."""
    import threading

    held.append(threading.get_ident())
    return job()


def _interrupt(held: list[int]) -> None:
    """Raise KeyboardInterrupt in a thread, as Python does it in the main one."""
    if held:
        thread = ctypes.c_ulong(held[0])
        ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(KeyboardInterrupt))
