"""What a person sees of a run while it runs: lines that stay, and on a terminal a progress bar."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import (
    Progress as RichProgress,
)

from hornbeam.files.terminal import as_markup, one_line

WIDE = 112  # columns of a terminal on which a long bar and both times stand side by side


EVERY = 30.0  # seconds between two lines of a stage that has no bar


class Progress:
    """Reports stages, steps and notes. On a terminal one bar a stage, elsewhere lines.

    Without a bar a step with a line of its own is told by that, others once in `EVERY` seconds of
    `clock`, but for the last: what comes after a stage tells its end.
    """

    def __init__(
        self, console: Console | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.console, self._clock = console or Console(), clock
        self._progress: RichProgress | None = None
        self._bar: TaskID | None = None
        self._what, self._total, self._room, self._told = "", 0, 0, 0.0
        self._warned: set[str] = set()

    def say(self, text: str, style: str = "") -> None:
        """One line that stays; where `text` has several, so many."""
        told = "\n".join(as_markup(line) for line in text.split("\n"))
        self.console.print(told, style=style or None, highlight=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        """One line that stays and stands out."""
        self.say(f"warning: {text}", "yellow")

    def warn_once(self, about: str, text: str) -> None:
        """A warning, unless there was one about this."""
        if about not in self._warned:
            self._warned.add(about)
            self.warn(text)

    def begin(self, what: str, total: int, done: int = 0) -> None:
        """A stage of `total` parts, of which `done` are done."""
        self.end()
        self._what, self._total, self._told = what, total, self._clock()
        if not self.console.is_terminal:
            return
        wide, bar = self.console.width >= WIDE, 24 if self.console.width >= WIDE else 10
        self._progress = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=bar),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[note]}"),
            *([TextColumn("[dim]run[/]"), TimeElapsedColumn()] if wide else []),
            TextColumn("[dim]left[/]"),
            TimeRemainingColumn(),
            console=self.console,
        )
        besides = len(what) + bar + 2 * len(str(total)) + (32 if wide else 18)
        self._room = max(4, self.console.width - besides)  # for what is told beside the bar
        self._progress.start()
        self._bar = self._progress.add_task(as_markup(what), total=total, completed=done, note="")

    def count(self, what: str, total: int) -> Callable[[], None]:
        """Begin a stage whose parts are told by calls of what comes back."""
        self.begin(what, total)
        numbers = count(1)
        return lambda: self.step(next(numbers), "")

    def nested(self, what: str, total: int) -> Callable[[], None]:
        """A stage beside the present one, as `count`: the bar stays, and tells it."""
        numbers = count(0)

        def ended() -> None:
            self._tell(what, next(numbers), total)

        ended()
        return ended

    def _tell(self, what: str, done: int, total: int) -> None:
        """So many parts are done of a stage without a bar of its own."""
        if self._progress is not None and self._bar is not None:
            self._progress.update(self._bar, note=as_markup(f"{what} {done}/{total}"[: self._room]))
        elif self._clock() - self._told >= EVERY and 0 < done < total:
            self._told = self._clock()
            self.say(f"{what}: {done}/{total}")

    def step(self, done: int, text: str, line: str = "") -> None:
        """So many parts are done; where there is no bar `line` is told, or now and then."""
        if self._progress is not None and self._bar is not None:
            text = one_line(text)
            text = text if len(text) <= self._room else f"{text[: self._room - 1]}…"
            self._progress.update(self._bar, completed=done, note=as_markup(text))
            return
        now = self._clock()
        if not line and now - self._told >= EVERY and done < self._total:
            line = f"{self._what}: {done}/{self._total}" + (f"  {text}" if text else "")
        if line:
            self._told = now
            self.say(line)

    def end(self) -> None:
        """The stage is over; its bar goes."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = self._bar = None


def train_line(row: Mapping[str, Any], steps: int) -> tuple[str, str]:
    """(short for the bar, long for a line) of a row of training metrics."""
    seconds = row["seconds_grow"] + row["seconds_train"]
    rate = row["sampled_tokens"] / seconds if seconds else 0.0
    groups = row["mixed_groups"] + row["unmixed_groups"]
    short = (
        f"reward {row['reward']:.3f}  mixed {row['mixed_groups']:.0f}/{groups:.0f}"
        f"  {rate:,.0f} tok/s"
    )
    if row["failed"]:
        short += f"  failed {row['failed']:.0f}"
    if row["cut_off"]:
        short += f"  cut off {100 * row['cut_off']:.0f} %"
    long = f"step {row['step'] + 1}/{steps}  {short}  loss {row['loss']:+.4f}  {seconds:.1f} s"
    if row.get("failure"):
        long += f"; {row['failed']:.0f} failed: {row['failure']}"
    if row.get("tool_failure"):
        long += f"; {row['tool_failure']}"
    return short, long
