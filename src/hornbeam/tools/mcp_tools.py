"""The tools of an MCP server: listed and checked at the start, called in sessions.

A session begins with its first call. With `session = "episode"` each episode has one of its own,
and behind a fork it is a new one: recorded calls are not made again there, so what they changed in
the server is not there. With "run" all episodes of a process share one.

A server that dies fails the call that it was at. The next session starts it anew, until it has died
`DEATHS` times without an answer; an episode whose own session is lost gets no second one.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import shlex
import shutil
import warnings
from collections.abc import Callable, Coroutine, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar
from weakref import WeakSet

from pydantic import Field, field_validator, model_validator

from hornbeam.errors import RecipeError, ToolError
from hornbeam.settings import Settings, nearest
from hornbeam.tools.mcp_session import (
    ListedTool,
    McpSession,
    ServerAddress,
    SessionLost,
    check_sdk,
    schema_problem,
)
from hornbeam.tools.schema import with_schema
from hornbeam.tree.nodes import Call
from hornbeam.tree.task import Task
from hornbeam.workers.background_loop import BackgroundLoop
from hornbeam.workers.local_workers import pure

T = TypeVar("T")
DEATHS = 3  # of a server without an answer, after which it is not started again
_servers: WeakSet[McpServer] = WeakSet()
_loops: list[BackgroundLoop] = []  # at most one: sessions stay on one loop, whoever calls


class McpSettings(Settings):
    """A server: a command or a URL, and which of its tools agents have under which names.

    `only` names the tools (all by default), `prefix` stands before their names. `session`: one an
    "episode", or one for the whole "run". `pure` says that no tool of it keeps state; those that
    the server calls read-only count as pure without. `rerun`: behind a fork the path's calls are
    made again, in its new session. `env` names variables of the environment that
    a command gets besides PATH and HOME, `key_env` the one with a URL's bearer token.
    """

    mcp: str
    only: tuple[str, ...] = ()
    prefix: str = ""
    session: Literal["episode", "run"] = "episode"
    pure: bool = False
    rerun: bool = False
    env: tuple[str, ...] = ()
    key_env: str = ""
    start_seconds: float = Field(30.0, gt=0)

    @field_validator("mcp")
    @classmethod
    def _command(cls, where: str) -> str:
        try:
            words = shlex.split(where)
        except ValueError as error:
            raise ValueError(f"{where!r} is no command: {error}") from error
        if not words:
            raise ValueError("name a command, or a URL")
        return where

    @model_validator(mode="after")
    def _check(self) -> McpSettings:
        if self.rerun and self.session == "run":
            raise ValueError('rerun = true needs session = "episode": else all would be made twice')
        return self


class McpTool:
    """A tool of a server, with the schema that models are told."""

    def __init__(self, name: str, listed: ListedTool, server: McpServer) -> None:
        self.name, self.listed, self.server = name, listed, server
        told = {"name": name, "description": listed.description, "parameters": listed.parameters}
        with_schema(self, told)
        if listed.read_only or server.settings.pure or server.settings.rerun:
            pure(self)

    def __repr__(self) -> str:
        return f"<McpTool {self.name} of {self.server.settings.mcp!r}>"

    async def __call__(self, /, **arguments: Any) -> Any:
        """The result of a call outside of episodes."""
        await self.server.open(None)
        return await self.call_in(None, arguments)

    async def call_in(self, session: Hashable, arguments: Mapping[str, Any]) -> Any:
        """The result of a call in a session. Raises `ToolError`."""
        return await self.server.call(session, self.listed, arguments)


class McpServer:
    """The sessions of this process with one server. Errors begin with `place`."""

    def __init__(self, place: str, settings: McpSettings, base: Path) -> None:
        self.place, self.settings = place, settings
        self.warn: Callable[[str], None] = warnings.warn
        self._address = ServerAddress(settings.mcp, base, settings.env, settings.key_env)
        self._open: dict[Hashable, asyncio.Task[McpSession]] = {}
        self._lost: set[Hashable] = set()  # episodes that lost their session
        self._closing: set[asyncio.Task[None]] = set()
        self._deaths = 0  # since the last answer
        self._told = self._differs = False
        self._tools: dict[str, ListedTool] = {}  # by the names that agents call
        self._check()
        _servers.add(self)

    def tools(self) -> dict[str, McpTool]:
        """Its tools by the names that agents call. Raises `RecipeError` in one line."""
        try:
            listed = _loop().wait(self._list())
        except ToolError as error:
            raise RecipeError(f"{self.place}: server {self.settings.mcp!r}: {error}") from error
        known = {tool.name: tool for tool in listed}
        if not known:
            raise RecipeError(f"{self.place}: the MCP server has no tools")
        for name in self.settings.only:
            if name not in known:
                hint = nearest(name, known)
                raise RecipeError(f"{self.place}.only: the MCP server has no tool {name!r}: {hint}")
        found = {}
        for name in self.settings.only or known:
            if problem := schema_problem(known[name].parameters):
                raise RecipeError(
                    f"{self.place}: the schema of tool {name!r} is no JSON schema of arguments"
                    f" ({problem}): name others in only = [...]"
                )
            given = self.settings.prefix + name
            found[given] = McpTool(given, known[name], self)
            self._tools[given] = known[name]
        return found

    async def open(
        self, session: Hashable, task: Task | None = None, before: Sequence[Call] = ()
    ) -> None:
        """See that the session is there. Raises `ToolError`."""
        await self._telling(self._session(self._key(session), before))
        if self._differs:
            self._differs = False
            self.warn(
                f"{self.place}: a call that was made again behind a fork gave another result than"
                " the recorded one: the server's state there is not that of the path"
            )

    async def call(self, session: Hashable, tool: ListedTool, arguments: Mapping[str, Any]) -> Any:
        """The result of a call in a session that is open. Raises `ToolError`."""
        return await self._telling(self._call(self._key(session), tool, arguments))

    def end(self, session: Hashable) -> None:
        """Close the session of an episode; nobody waits for it."""
        if self._key(session) is not None and _loops:
            _loop().start(self._end(session))

    async def aclose(self) -> None:
        """Close all sessions, and wait until processes have ended."""
        if _loops:
            await _loop().run(self.close_all())

    async def close_all(self) -> None:
        """The same, on the loop of the sessions."""
        for key in list(self._open):
            await self._end(key)
        await asyncio.gather(*self._closing)

    # --- on the loop of the sessions -------------------------------------------------------------

    async def _list(self) -> list[ListedTool]:
        session = await McpSession.open(self._address, self.settings.start_seconds)
        try:
            async with asyncio.timeout(self.settings.start_seconds) as limit:
                return await session.tools()
        except TimeoutError:
            assert limit.expired()
            late = f"it did not list its tools within {self.settings.start_seconds:g} s"
            raise ToolError(f"{late} (start_seconds){session.tail()}") from None
        finally:
            await session.close()

    async def _session(self, key: Hashable, before: Sequence[Call] = ()) -> McpSession:
        """The session of a key, begun where there is none."""
        if key in self._lost:
            raise ToolError("the session of this episode is lost: its MCP server has ended")
        if self._deaths >= DEATHS:
            raise ToolError(
                f"its MCP server is not started again: it ended {DEATHS} times without an answer"
            )
        if key not in self._open:
            self._open[key] = asyncio.create_task(self._begin(key, before))
        return await asyncio.shield(self._open[key])

    async def _begin(self, key: Hashable, before: Sequence[Call]) -> McpSession:
        try:
            session = await McpSession.open(self._address, self.settings.start_seconds)
            if self.settings.rerun:
                await self._rerun(session, before)
            return session
        except ToolError:
            self._open.pop(key, None)
            self._deaths += 1
            raise

    async def _rerun(self, session: McpSession, before: Sequence[Call]) -> None:
        """Make the calls of a path again, so that the server is as it was behind them."""
        again = [call for call in before if call.tool in self._tools]
        try:
            async with asyncio.timeout(self.settings.start_seconds):
                for call in again:
                    try:
                        result = await session.call(self._tools[call.tool], call.arguments)
                    except SessionLost:
                        raise
                    except ToolError:
                        result = None
                    self._differs |= result != call.result
        except (TimeoutError, SessionLost) as error:
            self._close(session)
            late = f"it did not answer the {len(again)} calls of the path again in time"
            raise error if isinstance(error, SessionLost) else SessionLost(late) from error

    async def _call(self, key: Hashable, tool: ListedTool, arguments: Mapping[str, Any]) -> Any:
        session = await self._session(key)
        try:
            result = await session.call(tool, arguments)
        except SessionLost:
            self._lose(key, session)
            raise
        except ToolError:
            self._deaths = 0
            raise
        self._deaths = 0
        return result

    def _lose(self, key: Hashable, session: McpSession) -> None:
        """Forget a session whose server is gone; several calls of it may tell."""
        task = self._open.get(key)
        if task is not None and task.done() and task.result() is session:
            del self._open[key]
            self._deaths += 1
            if key is not None:
                self._lost.add(key)
            self._close(session)

    async def _end(self, key: Hashable) -> None:
        self._lost.discard(key)
        task = self._open.pop(key, None)
        if task is None:
            return
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
        if not task.cancelled() and task.exception() is None:
            self._close(task.result())

    def _close(self, session: McpSession) -> None:
        closing = asyncio.create_task(session.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    # --- as callers see it -----------------------------------------------------------------------

    def _key(self, session: Hashable) -> Hashable:
        return session if self.settings.session == "episode" else None

    async def _telling(self, work: Coroutine[Any, Any, T]) -> T:
        """Have work done on the loop; that the server was lost is told once."""
        try:
            return await _loop().run(work)
        except SessionLost as error:
            if not self._told:
                self._told = True
                self.warn(
                    f"{self.place}: {error}: the call failed, the next session starts the server"
                    " anew; more of it is only counted"
                )
            raise

    def _check(self) -> None:
        """Raise `RecipeError` for what can be seen before the server starts."""
        check_sdk()
        for name in (*self.settings.env, *filter(None, [self.settings.key_env])):
            if name not in os.environ:
                raise RecipeError(f"{self.place}: the environment has no {name}: set it")
        if self._address.is_url:
            return
        command = shlex.split(self.settings.mcp)[0]
        if not (shutil.which(command) or (self._address.folder / command).is_file()):
            raise RecipeError(
                f"{self.place}: server {self.settings.mcp!r}: there is no command {command!r}"
            )


def mcp(where: str, **settings: Any) -> dict[str, McpTool]:
    """The tools of an MCP server by name, for `tools=` of `grow_trees`.

    `where` is a command or a URL, `settings` are those of `[tools.NAME]` in a recipe: `only`,
    `prefix`, `session`, `pure`, `env`, `key_env`, `start_seconds`. Raises `RecipeError`.
    """
    return McpServer("hb.mcp", McpSettings(mcp=where, **settings), Path.cwd()).tools()


def _loop() -> BackgroundLoop:
    """The loop of all sessions of this process; what they hold goes with it."""
    if not _loops:
        _loops.append(BackgroundLoop("mcp"))
        atexit.register(_end_all)
    return _loops[0]


def _end_all() -> None:
    """End every server when the process does."""

    async def ended() -> None:
        await asyncio.gather(*(server.close_all() for server in _servers))

    _loop().wait(ended())
