"""Starts agents that are Python by forks of one warm process (agent_host), one for a run.

A framework's import costs seconds of a core; here it is paid once. What cannot be forked is a
process of its own, as any other command.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hornbeam.errors import ProgramError
from hornbeam.gateway.agent_settings import STARTER, AgentCommand
from hornbeam.gateway.last_words import last_words

HOST = str(Path(__file__).with_name("agent_host.py"))
PYTHON = re.compile(r"python[0-9.]*$")
IMPORTED = "imported"  # in place of a session's token
ANEW = "a new process"  # what an agent has to be that cannot be forked any more
KEPT = 4096  # bytes of what the host says that are kept


class Forked:
    """A child of the host, as far as an `asyncio.subprocess.Process` is used."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.pid = 0
        self.stdin: asyncio.StreamWriter
        self.stdout, self.stderr = asyncio.StreamReader(), asyncio.StreamReader()
        self.started: asyncio.Future[str] = loop.create_future()  # "", or why it did not
        self.ended: asyncio.Future[int | str] = loop.create_future()  # exit code, or why not known
        self._pipes: list[asyncio.BaseTransport] = []

    async def connect(self, files: list[int]) -> None:
        """Make its input and output; `files` gets the child's three ends."""
        loop = asyncio.get_running_loop()
        theirs, ours = os.pipe()
        files.append(theirs)
        pipe, protocol = await loop.connect_write_pipe(
            asyncio.streams.FlowControlMixin, os.fdopen(ours, "wb", 0)
        )
        self.stdin = asyncio.StreamWriter(pipe, protocol, None, loop)
        self._pipes.append(pipe)
        for reader in (self.stdout, self.stderr):
            ours, theirs = os.pipe()
            files.append(theirs)
            end = os.fdopen(ours, "rb", 0)
            self._pipes.append((await loop.connect_read_pipe(partial(_feeding, reader), end))[0])

    @property
    def returncode(self) -> int | None:
        """Its exit code, None as long as it is not known."""
        ended = self.ended.result() if self.ended.done() else None
        return ended if isinstance(ended, int) else None

    async def wait(self) -> int:
        """Its exit code. Raises `ProgramError` where the host ended before it."""
        ended = await asyncio.shield(self.ended)
        if isinstance(ended, str):
            raise ProgramError(ended)
        return ended

    def lost(self, why: str) -> None:
        """Its host is gone."""
        self.kill()
        _settle(self.started, why)
        _settle(self.ended, why)

    def kill(self) -> None:
        """End it and its group."""
        if self.pid and not self.ended.done():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """End it, and close its input and output."""
        self.kill()
        for pipe in self._pipes:
            pipe.close()


class ForkHost:
    """The warm process of a run; it starts with the first agent, and again where it was lost."""

    def __init__(self, how: AgentCommand) -> None:
        self.how = how
        self.warn: Callable[[str], None] = warnings.warn
        self.refused = False  # agents are processes of their own
        self._starting = asyncio.Lock()
        self._sending = asyncio.Lock()  # requests go one behind the other
        self._link: socket.socket | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None
        self._asked: set[asyncio.Future[Forked | None]] = set()  # starts that are not over
        self._children: dict[int, Forked] = {}  # by the number of their request
        self._requests = 0

    def kind(self, words: Sequence[str]) -> tuple[str, str] | None:
        """("function" or "script", its file) of a command that can be forked."""
        if self.how.start == "process" or not PYTHON.match(Path(words[0]).name):
            return None
        if not hasattr(os, "pidfd_open"):
            return None
        if list(words[1:3]) == ["-P", STARTER]:
            return "function", words[3]
        script = words[1] if len(words) > 1 else ""
        return ("script", script) if script.endswith(".py") and Path(script).is_file() else None

    async def start(
        self, words: Sequence[str], folder: Path, env: Mapping[str, str], task: str
    ) -> Forked | None:
        """A child that runs the command, None where a process of its own has to.

        Raises `ProgramError` where the host ends meanwhile.
        """
        kind = self.kind(words)
        if kind is None:
            return None
        starting = asyncio.ensure_future(self._start(kind, words, folder, env, task))
        self._asked.add(starting)
        starting.add_done_callback(self._asked.discard)
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            starting.add_done_callback(_unwanted)
            raise

    async def _start(
        self,
        kind: tuple[str, str],
        words: Sequence[str],
        folder: Path,
        env: Mapping[str, str],
        task: str,
    ) -> Forked | None:
        async with self._starting:
            if self._link is None and not self.refused:
                await self._begin(words[0], *kind, env)
            if self._link is None or self.refused:
                return None
            link = self._link
        said = {"words": words[3:] if kind[0] == "function" else words[1:]}
        seed = zlib.crc32(task.encode())
        return await self._fork(
            link, {**said, "folder": str(folder), "env": dict(env), "seed": seed}
        )

    async def _fork(self, link: socket.socket, request: dict[str, Any]) -> Forked | None:
        child, number = Forked(), self._requests
        self._requests += 1
        body = json.dumps({"number": number, **request}).encode()
        files: list[int] = []
        try:
            await child.connect(files)
            async with self._sending:
                self._children[number] = child
                await _send_files(link, len(body).to_bytes(4, "big"), files)
                await asyncio.get_running_loop().sock_sendall(link, body)
            why = await child.started
        except OSError as error:
            why = f"an agent could not be forked: {error}"
        except BaseException:
            child.close()
            raise
        finally:
            for file in files:
                os.close(file)
        if not why:
            return child
        child.close()
        if why == ANEW:
            return None
        raise ProgramError(why)

    # --- the host --------------------------------------------------------------------------------

    async def _begin(self, python: str, kind: str, file: str, env: Mapping[str, str]) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        number = theirs.fileno()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *(python, HOST, str(number), kind, file),
                pass_fds=[number],
                env=_of_no_session(env),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        ready: asyncio.Future[str | dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._listening = asyncio.create_task(self._listen(ours, self._process, ready))
        told = await ready
        why = told if isinstance(told, str) else ""
        if isinstance(told, dict):
            for module, error in told["failed"].items():
                self.warn(f"each run of the agent imports {module} itself: {error}")
            if told["threads"]:
                why = _of_threads(told["threads"])
        if why:
            self._refuse(why)
        else:
            self._link = ours

    def _refuse(self, why: str) -> None:
        self.refused = True
        self.warn(f"each run of the agent is a new process, not a fork: {why}")

    async def _listen(
        self,
        link: socket.socket,
        process: asyncio.subprocess.Process,
        ready: asyncio.Future[str | dict[str, Any]],
    ) -> None:
        """Hear what the host says, until it ends."""
        assert process.stderr is not None
        loop, said, rest = asyncio.get_running_loop(), bytearray(), b""
        errors = asyncio.create_task(_kept(process.stderr, said))
        with contextlib.suppress(OSError):
            while chunk := await loop.sock_recv(link, 65536):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._hear(json.loads(line), ready)
        self._link = None
        link.close()
        code = await process.wait()
        await errors
        tail = last_words(said.decode("utf-8", "replace"))
        why = f"the process that agents are forked from ended with exit code {code}: {tail}"
        for child in self._children.values():
            child.lost(why)
        self._children.clear()
        if not ready.done():
            ready.set_result(why)

    def _hear(self, told: dict[str, Any], ready: asyncio.Future[str | dict[str, Any]]) -> None:
        if "failed" in told and not ready.done():
            ready.set_result(told)
        elif "failed" in told:
            self._refuse(_of_threads(told["threads"]))
        elif "refused" in told:
            self._children.pop(told["number"]).lost(f"an agent was not forked: {told['refused']}")
        elif "anew" in told:
            _settle(self._children.pop(told["number"]).started, ANEW)
        elif "pid" in told:
            child = self._children[told["number"]]
            child.pid = told["pid"]
            _settle(child.started, "")
        else:
            _settle(self._children.pop(told["number"]).ended, told["code"])

    async def aclose(self) -> None:
        """End the host and its children."""
        asked = list(self._asked)
        for starting in asked:
            starting.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        if self._process is not None and self._listening is not None:
            if self._process.returncode is None:
                self._process.kill()
            await self._listening
        self._process = self._listening = None


async def _send_files(link: socket.socket, data: bytes, files: Sequence[int]) -> None:
    """Send a few bytes with open files, when there is room for them."""
    while True:
        try:
            socket.send_fds(link, [data], files)
            return
        except BlockingIOError:
            await asyncio.sleep(0.002)


def _of_threads(names: Sequence[str]) -> str:
    return f"what it imports starts threads ({', '.join(names)})"


def _of_no_session(env: Mapping[str, str]) -> dict[str, str]:
    """The environment of the host: that of an agent, with no session that it could ask.

    OpenAI's client refuses to be made without a key: a module that makes one is imported by each
    run. Any other client that is made at an import has an address at which it is told so.
    """
    token = env["OPENAI_API_KEY"]
    out = {name: value.replace(token, IMPORTED) for name, value in env.items()}
    del out["OPENAI_API_KEY"]
    return {"OPENBLAS_NUM_THREADS": "1", **out}  # numpy's import starts no threads


def _feeding(reader: asyncio.StreamReader) -> asyncio.StreamReaderProtocol:
    return asyncio.StreamReaderProtocol(reader)


def _settle(future: asyncio.Future[Any], value: str | int) -> None:
    """Its result, where nobody has given it up."""
    if not future.done():
        future.set_result(value)


def _unwanted(starting: asyncio.Future[Forked | None]) -> None:
    if not starting.cancelled() and starting.exception() is None and (child := starting.result()):
        child.close()


async def _kept(stream: asyncio.StreamReader, into: bytearray) -> None:
    while chunk := await stream.read(KEPT):
        into.extend(chunk)
        del into[:-KEPT]
