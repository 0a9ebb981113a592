"""Runs a job where an event loop may be running already, as in a notebook: in a thread there."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from hornbeam.jobs.event_loop import interrupt

T = TypeVar("T")


def outside_loop(job: Callable[[], T]) -> T:
    """What the job gives, which may run event loops of its own. Ctrl-C stops it in either case."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return job()
    begun, threads_of_job = threading.Event(), list[int]()

    def run() -> T:
        threads_of_job.append(threading.get_ident())
        begun.set()
        return job()

    with ThreadPoolExecutor(1, "hornbeam-job") as threads:
        work = threads.submit(run)
        try:
            return work.result()
        except KeyboardInterrupt:
            begun.wait()
            if not work.done():
                interrupt(threads_of_job[0])
            raise
