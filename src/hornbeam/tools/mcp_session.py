"""One session with an MCP server, over stdio or HTTP (extra `mcp`, whose only import this is).

A session is held open by a task of its own, as what opens a connection of the SDK must close it.
What a server writes to stderr is kept up to a bound, and its last line stands behind an error.

Left out: sampling, elicitation, roots, prompts and resources; images and other binary results.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from hornbeam.errors import RecipeError, ToolError, how_to_get

KEPT = 4096  # characters of stderr that are kept
PAGES = 100  # of a list of tools
CONNECT = 30.0  # seconds for a connection over HTTP


class SessionLost(ToolError):
    """A session whose server is gone."""


@dataclass(frozen=True, slots=True)
class ListedTool:
    """What a server says of a tool. `wrapped`: its results stand under "result" alone."""

    name: str
    description: str
    parameters: dict[str, Any]  # JSON schema of the arguments
    read_only: bool  # it says that it changes nothing
    wrapped: bool


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """How a server is reached: a URL, or a command that runs in `folder`.

    `env` names variables of this process that the command gets, `key_env` the one that holds the
    bearer token of a URL.
    """

    where: str
    folder: Path
    env: tuple[str, ...] = ()
    key_env: str = ""

    @property
    def is_url(self) -> bool:
        """Whether it is reached over HTTP."""
        return self.where.startswith(("http://", "https://"))


class McpSession:
    """A session that is open. `close` ends it, and the server with it where it is a process."""

    def __init__(self, address: ServerAddress) -> None:
        self.address = address
        self._stderr = Tail()
        self._over = asyncio.Event()
        self._client: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._hold())

    @classmethod
    async def open(cls, address: ServerAddress, seconds: float) -> McpSession:
        """A session, within so many seconds. Raises `SessionLost`, and `RecipeError` for values."""
        check_sdk()
        session = cls(address)
        try:
            async with asyncio.timeout(seconds) as limit:
                await asyncio.shield(session._client)
        except BaseException as error:
            closing = asyncio.ensure_future(session.close())
            await asyncio.shield(closing)
            if limit.expired():
                late = f"it did not answer within {seconds:g} s (start_seconds)"
                raise SessionLost(f"{late}{session.tail()}") from None
            if isinstance(error, (RecipeError, asyncio.CancelledError)):
                raise
            raise SessionLost(f"it does not start: {line_of(error)}{session.tail()}") from error
        return session

    async def tools(self) -> list[ListedTool]:
        """The tools that the server has. Raises `SessionLost`."""
        found, cursor = [], None
        for _ in range(PAGES):
            page = await self._told(self._client.result().list_tools(cursor=cursor))
            found += [_listed(tool) for tool in page.tools]
            cursor = page.next_cursor
            if not cursor:
                break
        return found

    async def call(self, tool: ListedTool, arguments: Mapping[str, Any]) -> Any:
        """The result as JSON data. Raises `ToolError`, a `SessionLost` where the server is gone."""
        call = self._client.result().call_tool(tool.name, dict(arguments))
        result = await self._told(call)
        if result.is_error:
            said = " ".join(block.text for block in result.content if block.type == "text")
            raise ToolError(one_line(said) or f"{tool.name} failed")
        structured = result.structured_content
        if structured is not None:
            return structured["result"] if tool.wrapped and "result" in structured else structured
        return "\n".join(_text(tool.name, block) for block in result.content)

    def tail(self) -> str:
        """The last line of stderr, to stand behind an error; "" where there is none."""
        line = self._stderr.last()
        return f"; its last line of stderr: {line}" if line else ""

    async def close(self) -> None:
        """End the session and wait until its server has ended, which is bounded."""
        self._over.set()
        if not self._client.done():
            self._task.cancel()
        await asyncio.wait([self._task])
        self._stderr.close()

    async def _told(self, asked: Any) -> Any:
        """What the server answers. Errors of the SDK are told as ours."""
        from mcp import MCPError
        from mcp_types import CONNECTION_CLOSED

        try:
            return await asked
        except MCPError as error:
            if error.code == CONNECTION_CLOSED:
                raise SessionLost(f"its MCP server has ended{self.tail()}") from error
            raise ToolError(one_line(str(error))) from error
        except Exception as error:
            if self._task.done():
                raise SessionLost(f"its MCP server has ended{self.tail()}") from error
            raise ToolError(line_of(error)) from error

    async def _hold(self) -> None:
        """Open the connection, hold it until it is over, and close it."""
        from mcp import Client

        try:
            async with contextlib.AsyncExitStack() as held:
                transport = await self._transport(held)
                client = await held.enter_async_context(Client(transport))
                self._client.set_result(client)
                await self._over.wait()
        except BaseException as error:
            if not self._client.done():
                self._client.set_exception(error)
                self._client.exception()  # read, though nobody may wait for it any more
            elif isinstance(error, asyncio.CancelledError):
                raise

    async def _transport(self, held: contextlib.AsyncExitStack) -> AbstractAsyncContextManager[Any]:
        """What carries the messages."""
        from mcp.client.stdio import StdioServerParameters, stdio_client
        from mcp.client.streamable_http import streamable_http_client

        address = self.address
        if not address.is_url:
            command, *arguments = shlex.split(address.where)
            env = {name: os.environ[name] for name in address.env if name in os.environ}
            errlog = held.enter_context(os.fdopen(self._stderr.open(), "w"))
            how = StdioServerParameters(
                command=command, args=arguments, env=env, cwd=address.folder
            )
            return stdio_client(how, errlog)
        key = os.environ.get(address.key_env, "") if address.key_env else ""
        headers = {"Authorization": f"Bearer {key}"} if key else None
        timeout = httpx2.Timeout(CONNECT, read=None)  # calls have a time-out of their own
        http = await held.enter_async_context(httpx2.AsyncClient(headers=headers, timeout=timeout))
        return streamable_http_client(address.where, http_client=http)


class Tail:
    """The end of what is written into a pipe."""

    def __init__(self) -> None:
        self._read = -1
        self._kept = b""

    def open(self) -> int:
        """The end of the pipe to write to, which the caller closes."""
        self._read, write = os.pipe()
        os.set_blocking(self._read, False)
        asyncio.get_running_loop().add_reader(self._read, self._take)
        return write

    def last(self) -> str:
        """The last line that is not empty, "" where there is none."""
        while self._take():
            pass
        lines = self._kept.decode("utf-8", "replace").split("\n")
        return next((one_line(line) for line in reversed(lines) if line.strip()), "")

    def _take(self) -> bool:
        """Read what is there; whether there may be more."""
        if self._read < 0:
            return False
        try:
            new = os.read(self._read, KEPT)
        except BlockingIOError:
            return False
        self._kept = (self._kept + new)[-KEPT:]
        if not new:
            self.close()
        return bool(new)

    def close(self) -> None:
        """Read no more."""
        if self._read >= 0:
            asyncio.get_running_loop().remove_reader(self._read)
            os.close(self._read)
            self._read = -1


def check_sdk() -> None:
    """Raise `RecipeError` where the SDK is not installed."""
    try:
        import mcp  # noqa: F401
    except ImportError as error:
        raise RecipeError(f"MCP servers need the extra; {how_to_get('mcp')}") from error


def schema_problem(schema: Mapping[str, Any]) -> str:
    """What is wrong with a JSON schema of arguments, "" where nothing is."""
    from jsonschema import Draft202012Validator, SchemaError
    from jsonschema.validators import validator_for

    if schema.get("type") != "object":
        return f'its type is {schema.get("type")!r}, not "object"'
    try:
        validator_for(schema, Draft202012Validator).check_schema(schema)
    except SchemaError as error:
        place = ".".join(map(str, error.absolute_path))
        return one_line(f"{place}: {error.message}" if place else error.message)
    return ""


def _listed(tool: Any) -> ListedTool:
    """A tool of the SDK as ours."""
    output = tool.output_schema or {}
    return ListedTool(
        tool.name,
        tool.description or "",
        tool.input_schema,
        bool(tool.annotations and tool.annotations.read_only_hint),
        list(output.get("properties", ())) == ["result"],
    )


def _text(tool: str, block: Any) -> str:
    """The text of one piece of a result. Raises `ToolError` for what is none."""
    if block.type == "text":
        return str(block.text)
    if block.type == "resource" and hasattr(block.resource, "text"):
        return str(block.resource.text)
    if block.type == "resource_link":
        return str(block.uri)
    kind = getattr(block, "mime_type", None) or block.type
    raise ToolError(f"{tool} returned {kind}, and only texts and JSON data can be read here")


def line_of(error: BaseException) -> str:
    """What an error says on one line, of a group its first one."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return one_line(str(error)) or type(error).__name__


def one_line(text: str) -> str:
    """A text on one line."""
    return " ".join(text.split())
