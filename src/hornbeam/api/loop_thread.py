"""Runs a job where an event loop may be running already, as in a notebook: in a thread there."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from hornbeam.jobs.event_loop import interrupt

T = TypeVar("T")
BEGIN = 10.0  # seconds after which a thread that has not begun never will


def _running() -> bool:
    """Whether an event loop runs in this thread; apart, so that errors of jobs have no context."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def outside_loop(job: Callable[[], T]) -> T:
    """What the job gives, which may run event loops of its own. Ctrl-C stops it in either case."""
    if not _running():
        return job()
    begun, outcome = threading.Event(), Future[T]()

    def run() -> None:
        begun.set()
        try:
            outcome.set_result(job())
        except BaseException as error:
            outcome.set_exception(error)

    thread = threading.Thread(target=run, name="hornbeam-job", daemon=True)
    try:
        thread.start()  # Ctrl-C may come in here too
        return outcome.result()
    except KeyboardInterrupt:
        if begun.wait(BEGIN) and not outcome.done():
            interrupt(thread)
        raise
