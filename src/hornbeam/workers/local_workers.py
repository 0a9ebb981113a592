"""Runs tool calls in this process: quick ones at once, others in threads, async ones as they are.

A tool is a function with named arguments that returns JSON data. Its first parameter may be named
`task`: it then gets the task, which is not part of the recorded arguments. One of its parameters
may be named `world`: it then gets the world of its episode, likewise.

A tool of a server (`SessionTool`) is called in the session of its episode.

Whatever goes wrong is a `ToolError` of one line, which an agent can be shown. A thread cannot be
stopped: a call that takes too long is left behind in its daemon thread, and when as many are left
behind as there are threads, no further call is started until one of them ends.

Left out: processes and other machines; a tool that needs them starts them itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import threading
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar, cast

from hornbeam.arguments import wrong
from hornbeam.errors import ToolError, WorldError
from hornbeam.settings import nearest
from hornbeam.tree.facts import Call
from hornbeam.tree.task import Task
from hornbeam.workers import left_behind
from hornbeam.workers.outcomes import (
    AsyncOutcome,
    outcome,
    outcome_here,
    too_long,
    tool_error,
)

Tool = Callable[..., Any]
F = TypeVar("F", bound=Callable[..., Any])
NO_TOOL = "there is no tool "  # how the error of an unknown tool begins
WORLD = "world"  # the parameter that gets the world of the episode
_PURE = "hornbeam_pure"


def inline(tool: F) -> F:
    """Mark a tool that always answers within microseconds: it is called without a thread."""
    tool.__dict__["hornbeam_inline"] = True
    return tool


def pure(tool: F) -> F:
    """Mark a tool that keeps no state: its result depends on its arguments, or the task, alone.

    Recorded calls are not made again behind a fork, so the state of any other tool is not there,
    unless it is in a world. A tool whose results vary by themselves (a clock) keeps no state.
    """
    if not callable(tool):
        raise wrong("pure", "a function, the tool", tool)
    setattr(tool, _PURE, True)
    return tool


def wants_world(tool: Tool) -> bool:
    """Whether a tool acts on the world of its episode: whether it has a parameter `world`."""
    return not hasattr(tool, "call_in") and _look_at(tool).wants_world


def is_pure(tool: Tool) -> bool:
    """Whether a tool, or the one inside a `functools.partial`, is marked pure."""
    return bool(getattr(tool, _PURE, False) or getattr(getattr(tool, "func", None), _PURE, False))


class ToolServer(Protocol):
    """What holds the sessions of its tools. A session is named by what its episode is named by."""

    warn: Callable[[str], None]  # hears once that it was lost

    async def open(self, session: Hashable, task: Task, before: Sequence[Call]) -> None:
        """See that a session is there, within a time of its own. Raises `ToolError`.

        `before` are the recorded calls of the path, which are not made again but by the server.
        """
        ...

    def end(self, session: Hashable) -> None:
        """The episode of a session has ended."""
        ...

    async def aclose(self) -> None:
        """End all sessions, and what serves them."""
        ...


class SessionTool(Protocol):
    """A tool of a server."""

    server: ToolServer

    async def call_in(self, session: Hashable, arguments: Mapping[str, Any]) -> Any:
        """The result of a call in a session that is open. Raises `ToolError`."""
        ...


def servers_of(tools: Iterable[Tool]) -> list[ToolServer]:
    """The servers of tools, each once."""
    found = [cast(SessionTool, tool).server for tool in tools if hasattr(tool, "call_in")]
    return list({id(server): server for server in found}.values())


@dataclass(frozen=True, slots=True)
class _Known:
    """A tool and what was found out about it once, so that a call need not."""

    run: Tool
    how: str  # "async", "inline", "session" or "thread"
    signature: inspect.Signature | None  # None: written in C, tells none
    wants_task: bool
    wants_world: bool
    required: frozenset[str]
    accepted: frozenset[str]


class LocalWorkers:
    """Tools by name, at most `seconds` a call, at most `threads` of them at once.

    `abandoned` counts calls that passed their time and still run; `stateful` names the tools that
    are not marked pure and keep what they change in no world, `worldly` those that act on one.
    """

    def __init__(self, tools: Mapping[str, Tool], seconds: float = 10.0, threads: int = 16) -> None:
        self.seconds = seconds
        self.threads = threads
        self.abandoned = 0
        self._tools = {name: _look_at(tool) for name, tool in tools.items()}
        self.worldly = frozenset(name for name, tool in self._tools.items() if tool.wants_world)
        stateful = (name for name, tool in tools.items() if not is_pure(tool))
        self.stateful = frozenset(stateful) - self.worldly
        self.checked: set[str] = set()  # of the stateful ones, those looked at behind a fork
        self._free: tuple[asyncio.AbstractEventLoop, asyncio.Semaphore] | None = None
        self._servers = servers_of(tools.values())

    @property
    def functions(self) -> dict[str, Tool]:
        """The tools by name."""
        return {name: tool.run for name, tool in self._tools.items()}

    async def call(
        self,
        name: str,
        arguments: Mapping[str, Any],
        task: Task,
        session: Hashable = None,
        before: Sequence[Call] = (),
        world: Any = None,
    ) -> Any:
        """The result as it reads back from JSON, with a reward where the tool gave a `Result`.

        Raises `ToolError` for whatever goes wrong.

        `session` names the episode; whoever gives one says when it has ended (`end`). `before` are
        the calls that it replayed. `world` is what the tool acts on, if it does.
        """
        if name not in self._tools:
            hint = nearest(name, self._tools) if self._tools else "this run has none"
            raise ToolError(f"{NO_TOOL}{name!r}: {hint}")
        tool = self._tools[name]
        given = (task,) if tool.wants_task else ()
        if not tool.required <= arguments.keys() <= tool.accepted:
            _check(name, tool, given, arguments)
        own = {WORLD: world} if tool.wants_world else {}

        def run() -> Any:
            return tool.run(*given, **arguments, **own)

        left_behind.mark()
        if tool.how == "inline":
            result = outcome_here(name, run, self.seconds)
        elif tool.how == "session":
            opened = partial(cast(SessionTool, tool.run).server.open, session, task, before)
            called = partial(cast(SessionTool, tool.run).call_in, session, arguments)
            result = await self._in_session(name, opened, called)
        elif tool.how == "async":
            result = await AsyncOutcome(name, run, self.seconds).result()
        else:
            result = await self._in_thread(name, run)
        if isinstance(result, (ToolError, WorldError)):
            raise result
        return result

    async def _in_session(
        self, name: str, open_it: Callable[[], Any], run: Callable[[], Any]
    ) -> Any:
        """The same of a server's tool; to begin its session is not part of the call's time."""
        try:
            await open_it()
        except ToolError as error:
            return tool_error(error)
        return await AsyncOutcome(name, run, self.seconds).result()

    async def _in_thread(self, name: str, run: Callable[[], Any]) -> Any:
        """What a tool returns in a daemon thread, or the error."""
        loop = asyncio.get_running_loop()
        async with self._slot(loop):
            if self.abandoned >= self.threads:
                raise ToolError(
                    f"{name} was not run: {self.abandoned} earlier calls passed their time and"
                    " still run"
                )
            done = loop.create_future()
            context = contextvars.copy_context()

            def finish(result: Any) -> None:
                if done.done():
                    self.abandoned -= 1
                else:
                    done.set_result(result)

            def work() -> None:
                result = context.run(outcome, name, run)
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                    loop.call_soon_threadsafe(finish, result)

            threading.Thread(target=work, name=f"tool {name}", daemon=True).start()
            try:
                async with asyncio.timeout(self.seconds):
                    return await done
            except TimeoutError:
                return too_long(name, self.seconds)
            finally:
                if done.cancelled():  # by the time-out or from outside
                    self.abandoned += 1

    def _slot(self, loop: asyncio.AbstractEventLoop) -> asyncio.Semaphore:
        """What bounds the threads; it belongs to one loop, and notebooks run several in turn."""
        if self._free is None or self._free[0] is not loop:
            self._free = (loop, asyncio.Semaphore(self.threads))
        return self._free[1]

    def end(self, session: Hashable) -> None:
        """The episode that a session is named by has ended."""
        for server in self._servers:
            server.end(session)

    async def aclose(self) -> None:
        """End the sessions of servers; threads left behind end with the process."""
        for server in self._servers:
            await server.aclose()


def _look_at(tool: Tool) -> _Known:
    """All there is to know of a tool."""
    how = "inline" if getattr(tool, "hornbeam_inline", False) else "thread"
    if inspect.iscoroutinefunction(tool) or inspect.iscoroutinefunction(type(tool).__call__):
        how = "async"
    if hasattr(tool, "call_in"):
        how = "session"
    try:
        signature = inspect.signature(tool)
    except ValueError:
        return _Known(tool, how, None, False, False, frozenset(), frozenset())
    parameters = list(signature.parameters.values())
    wants_task = bool(parameters) and parameters[0].name == "task"
    named = [
        p for p in parameters[wants_task:] if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    plain = [p for p in named if p.name != WORLD]
    required = frozenset(p.name for p in plain if p.default is p.empty)
    accepted = frozenset(p.name for p in plain)
    return _Known(tool, how, signature, wants_task, plain != named, required, accepted)


def _check(name: str, tool: _Known, given: tuple[Any, ...], arguments: Mapping[str, Any]) -> None:
    """Raise `ToolError` where the arguments do not fit; for all but plainly fitting ones."""
    if tool.signature is None:
        return
    own = {WORLD: None} if tool.wants_world else {}
    try:
        if own.keys() & arguments.keys():
            raise TypeError("got an unexpected keyword argument 'world'")
        tool.signature.bind(*given, **arguments, **own)
    except TypeError as error:
        named = list(tool.signature.parameters)[len(given) :]
        takes = ", ".join(name for name in named if name not in own)
        raise ToolError(f"{name} takes ({takes}): {error}") from error
