"""Calls a reward function that stands in no file: in a thread of this process.

No other process can load it, so nobody can kill it: an answer that is late is not waited for, and
the thread is left to itself (it ends with the interpreter). The next call has a new thread.
"""

from __future__ import annotations

import json
import queue
import threading

from hornbeam.score.checker_pool import NoVerdict


class ThreadWorker:
    """One thread that answers requests as a checker process does, line by line."""

    def __init__(self, path: str, name: str, *more: str) -> None:
        self._asked: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._said: queue.SimpleQueue[str] = queue.SimpleQueue()
        thread = threading.Thread(target=self._serve, args=(path, name, *more), daemon=True)
        thread.start()

    def _serve(self, path: str, name: str, *more: str) -> None:
        from hornbeam.score.reward_call import reward_call

        try:
            call = reward_call(path, name, *more)
        except Exception as error:
            self._said.put(f"unfit: {error}\n")
            return
        self._said.put("ready\n")
        while (text := self._asked.get()) is not None:
            self._said.put(json.dumps(call(json.loads(text))) + "\n")

    def send(self, text: str) -> None:
        """One request."""
        self._asked.put(text)

    def read(self, seconds: float) -> str:
        """The next line; raises `NoVerdict` when it does not come in time."""
        try:
            return self._said.get(timeout=seconds)
        except queue.Empty:
            raise NoVerdict("timeouts") from None

    def end(self) -> None:
        """Take no more requests."""
        self._asked.put(None)
