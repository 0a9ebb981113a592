"""What a tool comes to: a result as it reads back from JSON, or an error of one line.

Whatever a tool raises, returns or does to its process goes no further: errors that are no
`Exception`, errors without words, results without end, a child that it forked and that goes on.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Coroutine
from typing import Any

from hornbeam.errors import HornbeamError, ToolError, WorldError
from hornbeam.tree.facts import Result
from hornbeam.workers.time_slices import (
    InSlices,
    Overrun,
    TimeSlice,
    go_back,
    is_interrupt,
    working_folder,
)

LONGEST = 300  # characters of an error
LARGEST = 8 << 20  # bytes of a result as JSON


class TookTooLong(ToolError):
    """A call that passed its time, and may still run."""


def too_long(name: str, seconds: float) -> ToolError:
    """The error of a call that took longer."""
    return TookTooLong(f"{name} took longer than {seconds:g} s")


def outcome(name: str, run: Callable[[], Any]) -> Any:
    """What a tool returns, or the error it met, in a thread of its own.

    The process is in its folder again then, as others have files there.
    """
    process, folder = os.getpid(), working_folder()
    try:
        found = plain(name, run())
    except BaseException as error:
        found = tool_error(error)
    if os.getpid() != process:  # a child that the tool forked: it ends here
        os._exit(0)
    go_back(folder)
    return found


def outcome_here(name: str, run: Callable[[], Any], seconds: float) -> Any:
    """The same in the thread of all episodes, within so many seconds."""
    try:
        with TimeSlice(seconds):
            return plain(name, run())
    except Overrun:
        return too_long(name, seconds)
    except BaseException as error:
        if is_interrupt(error):
            raise
        return tool_error(error)


class AsyncOutcome:
    """The same of a tool that is awaited, as a task of its own that can be left behind."""

    def __init__(
        self, name: str, run: Callable[[], Coroutine[Any, Any, Any]], seconds: float
    ) -> None:
        self.name, self.seconds = name, seconds
        self._steps = InSlices(run(), seconds)
        self._task = asyncio.ensure_future(self._run())

    async def _run(self) -> Any:
        me = asyncio.current_task()
        try:
            result = await self._steps
        except Overrun:
            return too_long(self.name, self.seconds)
        except BaseException as error:
            asked = isinstance(error, asyncio.CancelledError) and me is not None and me.cancelling()
            if asked or is_interrupt(error):
                raise
            return tool_error(error)
        return outcome_here(self.name, lambda: result, self.seconds)

    async def result(self) -> Any:
        """Its result, if it comes in time; else it is cancelled, and has a moment to clean up."""
        try:
            await asyncio.wait({self._task}, timeout=self.seconds)
            if self._task.done():
                return self._task.result()
            return too_long(self.name, self.seconds)
        finally:
            if not self._task.done():
                self._task.cancel()
                await asyncio.wait({self._task}, timeout=min(1.0, self.seconds))
                self._steps.give_up = True
                self._task.cancel()


def tool_error(error: BaseException) -> HornbeamError:
    """One line: the error's own text where a tool raised it on purpose, else with its name.

    That of a world is no tool's.
    """
    if isinstance(error, WorldError):
        return error
    text = words_of(error).strip().split("\n", 1)[0]
    if not isinstance(error, ToolError):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return ToolError(text[:LONGEST])


def words_of(error: BaseException) -> str:
    """What an error says; "" where it cannot say it."""
    try:
        return str(error)
    except Exception:
        return ""


def plain(name: str, result: Any) -> Any:
    """A result as it reads back from a record. Raises `ToolError` for what cannot be kept."""
    if isinstance(result, (ToolError, WorldError)):
        raise result
    if isinstance(result, Result):
        return Result(_json(name, result.value), result.reward)
    return _json(name, result)


def _json(name: str, result: Any) -> Any:
    if result is None or (type(result) is str and len(result) < LARGEST and result.isascii()):
        return result
    try:
        text = json.dumps(result, allow_nan=False, ensure_ascii=False)
    except Exception as error:  # of a class of its own, any
        wrong = f"{name} returned what is no JSON data: {words_of(error)}"
        raise ToolError(wrong[:LONGEST]) from error
    if len(text) > LARGEST:
        raise ToolError(f"{name} returned {len(text):,} characters of JSON, more than {LARGEST:,}")
    return json.loads(text.encode("utf-8", errors="replace"))  # lone surrogates cannot be kept
