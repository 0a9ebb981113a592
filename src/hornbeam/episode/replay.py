"""An event loop for one program: it runs until nothing is ready, which is how replay stays exact.

A program's tasks, gathers, locks and queues all live on this loop. Whatever would make a second run
differ from the first (clocks, sockets, threads) is refused here with a word on what to do instead.
"""

from __future__ import annotations

import asyncio
from asyncio import events, tasks
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from typing import Any, NoReturn, cast

from hornbeam.errors import ProgramError
from hornbeam.workers import left_behind
from hornbeam.workers.time_slices import Overrun, TimeSlice, close, is_interrupt

CLOCKS = ("call_later", "call_at", "time")
PLAIN = (  # frameworks on anyio run plain functions in threads of its own, which ask for the time
    "; if a framework runs a plain function in a thread, make it async (or give the framework an"
    " executor: pydantic-ai's Agent.using_thread_executor)"
)
MOST = 200_000  # callbacks between two effects; a program that waits by going round needs more


class Callback:
    """What waits in a loop, and can be cancelled; `asyncio.Handle` takes three times as long."""

    __slots__ = ("_arguments", "_context", "_function")

    def __init__(
        self, function: Callable[..., object], arguments: tuple[Any, ...], context: Context | None
    ) -> None:
        self._function: Callable[..., object] | None = function
        self._arguments = arguments
        self._context = copy_context() if context is None else context

    def run(self) -> None:
        """Call it, unless it was cancelled; as on any loop its error is nobody's."""
        if self._function is None:
            return
        try:
            self._context.run(self._function, *self._arguments)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:  # a task keeps those of a program; here it is a callback's
            return

    def cancel(self) -> None:
        """Do not call it."""
        self._function = None

    def cancelled(self) -> bool:
        """Whether it will not be called."""
        return self._function is None


class ReplayLoop:
    """Ready callbacks in the order they became ready, and nothing else of an event loop."""

    def __init__(self) -> None:
        left_behind.mark()  # what a program starts ends with the run
        self._ready: deque[Callback] = deque()
        self._loop = cast(asyncio.AbstractEventLoop, self)  # all of one that asyncio asks for

    def spin(self) -> None:
        """Run ready callbacks until none is left; every task then waits for an effect or is done.

        May be called from inside a task of another loop, which is put aside meanwhile.
        """
        outer = events._get_running_loop()
        current = None if outer is None else tasks.current_task(outer)
        if outer is not None and current is not None:
            tasks._leave_task(outer, current)
        events._set_running_loop(self._loop)
        try:
            self._run_ready()
        finally:
            events._set_running_loop(outer)
            if outer is not None and current is not None:
                tasks._enter_task(outer, current)

    def _run_ready(self) -> None:
        for _ in range(MOST):
            if not self._ready:
                return
            self._ready.popleft().run()
        self._ready.clear()
        raise ProgramError(
            "an agent program goes round (asyncio.sleep(0) in a loop) without an ask or a call:"
            " await the task it waits for"
        )

    def ready(self) -> bool:
        """Whether a callback waits to be run."""
        return bool(self._ready)

    def cancel(self, main: asyncio.Task[Any], seconds: float) -> None:
        """Cancel a program's task, which has so long to end, and swallow what it raises."""
        if not main.done():
            main.cancel()
            try:
                with TimeSlice(seconds):
                    self.spin()
            except (ProgramError, SystemExit, KeyboardInterrupt, Overrun) as error:
                if is_interrupt(error):
                    raise
        if not main.done():
            close(main.get_coro(), seconds)

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Callback:
        """Queue a callback."""
        queued = Callback(callback, args, context)
        self._ready.append(queued)
        return queued

    def create_future(self) -> asyncio.Future[Any]:
        """A future of this loop."""
        return asyncio.Future(loop=self._loop)

    def create_task(self, coro: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:
        """A task of this loop."""
        return asyncio.Task(coro, loop=self._loop, **options)

    def run_in_executor(
        self, executor: object, function: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """A plain function that a framework hands to a thread (a tool, say): called here, at once.

        Otherwise what its thread meets would reach the model as the tool's error, as some do.
        """
        future = self.create_future()
        try:
            future.set_result(function(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def get_task_factory(self) -> None:
        """None: frameworks ask for it."""

    def get_debug(self) -> bool:
        """Never."""
        return False

    def is_running(self) -> bool:
        """Always, as seen from a program."""
        return True

    def is_closed(self) -> bool:
        """Never."""
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Errors reach the driver through the program's own task; nothing to add here."""

    def __getattr__(self, name: str) -> NoReturn:
        """Refuse what an event loop can besides: clocks, threads, sockets, processes, signals."""
        if name in CLOCKS:
            raise ProgramError(
                "an agent program waited on the clock (asyncio.sleep, timeout or wait_for), which"
                " cannot be replayed: set a time-out on the call, or wait inside a tool"
                + PLAIN
                * (name == "time")
            )
        raise ProgramError(
            f"an agent program used a thread, a socket or a process directly (loop.{name}), which"
            " cannot be replayed: put it into a tool and use ep.call"
        )
