"""One sink in a thread of its own: whatever it does, training goes on.

What was told is noted in a small file, so that a resumed run goes on there.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from queue import Full, Queue
from typing import Any

from hornbeam.protocols import RunFacts, Sink

WAIT = 60.0  # seconds that training waits for a sink to start, and to close
ROOM = 1000  # calls that may wait for it

Warn = Callable[[str], None]


class SinkThread:
    """Calls a sink's methods in order. `warn` hears the first failure, and at the end how many."""

    def __init__(self, name: str, sink: Sink, note: Path, warn: Warn) -> None:
        self.name, self.sink, self._path, self._warn = name, sink, note, warn
        self.note = _read(note)
        self.fresh = not note.exists()
        self._heard = dict(self.note["steps"])  # with those that wait for their turn
        self.calls, self.failed, self.off = 2, 0, False  # start and close
        self._queue: Queue[tuple[str, tuple[Any, ...]] | None] = Queue(ROOM)
        self._started, self._told = threading.Event(), False
        self._thread = threading.Thread(target=self._work, name=f"sink {name}", daemon=True)

    @property
    def wants_trees(self) -> bool:
        """Whether the sink hears of trees."""
        return getattr(type(self.sink), "tree", Sink.tree) is not Sink.tree

    def start(self, run: RunFacts) -> None:
        """Start the sink, and wait for that, but not for ever."""
        self._queue.put(("start", (replace(run, told=self.note["rows"]),)))
        self._thread.start()
        if not self._started.wait(WAIT):
            self._warn(f"sink {self.name}: has not started in {WAIT:g} s: training begins")

    def row(self, row: Mapping[str, Any]) -> None:
        """Tell a row of metrics that was not told before."""
        kind, step = _place(row["kind"], row.get("step", 0), row)
        if step > self._heard.get(kind, -1):
            self._heard[kind] = step
            figures = {k: v for k, v in row.items() if k not in ("kind", "step")}
            self.tell("row", row["kind"], row.get("step", 0), figures)

    def tell(self, method: str, *arguments: Any) -> None:
        """Call a method of the sink when its turn comes; without room the call is lost."""
        self.calls += 1
        try:
            self._queue.put_nowait((method, arguments))
        except Full:
            self._fail(f"it is too slow: {ROOM} calls wait")

    def close(self) -> None:
        """Let the sink hear what waits, close it, and say how much of all that failed."""
        if not self._thread.is_alive():
            return
        with suppress(Full):
            self._queue.put(None, timeout=WAIT)
        self._thread.join(WAIT)
        if self._thread.is_alive():
            self._warn(f"sink {self.name}: has not closed in {WAIT:g} s: what it holds may be lost")
        if self.failed > 1:
            self._warn(f"sink {self.name}: {self.failed} of {self.calls} calls failed")

    def _work(self) -> None:
        while (call := self._queue.get()) is not None:
            self._call(*call)
            if call[0] == "start":
                self._started.set()
        self._call("close", ())

    def _call(self, method: str, arguments: tuple[Any, ...]) -> None:
        if self.off:
            return
        try:
            getattr(self.sink, method, nothing)(*arguments)
        except BaseException as error:  # SystemExit too: training goes on
            self.off = method == "start"
            self._fail(f"{method}: {type(error).__name__}: {error}")
        if method == "row":
            self._write(*arguments)

    def _fail(self, why: str) -> None:
        self.failed += 1
        if not self._told:
            self._told = True
            then = "it is left out of this run" if self.off else "later failures are only counted"
            self._warn(f"sink {self.name}: {why.splitlines()[0][:300]}; {then}")

    # --- what was told -----------------------------------------------------------------------

    def skip(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Tell these rows no more."""
        for row in rows:
            kind, step = _place(row["kind"], row.get("step", 0), row)
            self._heard[kind] = step
            self._note(kind, step)

    def _note(self, kind: str, step: int) -> None:
        self.note["rows"] += 1
        self.note["steps"][kind] = step

    def _write(self, kind: str, step: int, figures: Mapping[str, Any]) -> None:
        """Note a row, whole or not at all should the process be killed."""
        self._note(*_place(kind, step, figures))
        part = self._path.with_name(f".{self._path.name}.part")
        try:
            self._path.parent.mkdir(exist_ok=True)
            part.write_text(json.dumps(self.note), "utf-8")
            part.replace(self._path)
        except OSError as error:
            self._fail(f"{self._path}: {error.strerror or error}")


def nothing(*arguments: Any) -> None:
    """What a sink without a method does."""


def _place(kind: str, step: int, figures: Mapping[str, Any]) -> tuple[str, int]:
    """Rows of which kind come one after the other, and this one's step."""
    stage = figures.get("stage", "")
    return f"{kind} {stage}" if stage else kind, step


def _read(path: Path) -> dict[str, Any]:
    """{"rows": how many were told, "steps": the last step of every kind}."""
    try:
        held = json.loads(path.read_text("utf-8"))
        return {"rows": int(held["rows"]), "steps": dict(held["steps"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {"rows": 0, "steps": {}}
