"""Commands and files inside a sandbox of E2B: its envd, over HTTP.

A command is a stream of the Connect protocol (connectrpc.com/docs/protocol): messages behind five
bytes, flags and a length; flag 2 is the end, with what went wrong.
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import httpx2

from hornbeam.errors import ToolError, WorldError
from hornbeam.worlds.shell_commands import SAME, CommandLimits, Ran

if TYPE_CHECKING:
    from hornbeam.worlds.e2b_service import E2bAddress

OUTPUT = CommandLimits().output  # bytes that are kept
LATE = 5.0  # seconds that envd has to end a command which takes too long
MOST = 1 << 24  # bytes of one message
STDIN = 90_000  # bytes
SCRIPT = 'exec 2>&1 </dev/null; exec /bin/sh -c "$1"'
SCRIPT_STDIN = 'exec 2>&1; printf %s "$2" | base64 -d | /bin/sh -c "$1"'


class Envd:
    """The inside of one sandbox. Raises `WorldError` of one line."""

    def __init__(
        self, http: httpx2.Client, url: str, how: E2bAddress, name: str, found: dict[str, Any]
    ) -> None:
        self._http, self._url, self._how = http, url, how
        user = base64.b64encode(f"{how.user}:".encode()).decode()
        self._headers = {
            "E2b-Sandbox-Id": name,
            "E2b-Sandbox-Port": "49983",
            "Authorization": f"Basic {user}",
            "Connect-Protocol-Version": "1",
        }
        if isinstance(token := found.get("envdAccessToken"), str):
            self._headers["X-Access-Token"] = token

    def run(self, command: str, stdin: str, seconds: float) -> Ran:
        """Run a command. `ToolError` where it takes longer than `seconds`."""
        given = stdin.encode()
        if len(given) > STDIN:
            raise ToolError(f"stdin is over {STDIN:,} bytes: write a file")
        with_stdin = [SCRIPT_STDIN, "sh", command, base64.b64encode(given).decode()]
        process: dict[str, Any] = {
            "cmd": "/bin/sh",
            "args": ["-c", *(with_stdin if given else [SCRIPT, "sh", command])],
            "envs": SAME,
        }
        if self._how.workdir:
            process["cwd"] = self._how.workdir
        late = ToolError(
            f"{command.split()[0] if command.split() else ''} took longer than {seconds:g} s"
        )
        output, pid, until = _Output(), 0, time.monotonic() + seconds + LATE
        try:
            for event in self._events({"process": process, "stdin": False}, seconds):
                if "start" in event:
                    pid = int(event["start"].get("pid", 0))
                for data in (event.get("data") or {}).values():
                    output.add(base64.b64decode(data))
                if "end" in event:
                    return Ran(output.text(), int(event["end"].get("exitCode", 0)))
                if time.monotonic() > until:
                    raise _Late
        except _Late:
            self._kill(pid)
            raise late from None
        except (AttributeError, TypeError, ValueError, binascii.Error) as error:
            raise WorldError(f"the sandbox answers what is no event: {error}") from error
        raise WorldError("the sandbox's answer was cut off before the command ended")

    def _events(self, body: Any, seconds: float) -> Iterator[dict[str, Any]]:
        """What happens to a command. Raises `_Late` where envd says so, or says nothing."""
        headers = {
            **self._headers,
            "Content-Type": "application/connect+json",
            "Connect-Timeout-Ms": f"{seconds * 1000:.0f}",
            "Keepalive-Ping-Interval": "50",
        }
        text = json.dumps(body).encode()
        content = struct.pack(">BI", 0, len(text)) + text
        timeout = httpx2.Timeout(self._how.timeout, read=seconds + LATE, pool=None)
        url = f"{self._url}/process.Process/Start"
        try:
            with self._http.stream(
                "POST", url, headers=headers, content=content, timeout=timeout
            ) as got:
                if got.status_code != 200:
                    got.read()
                    raise WorldError(f"the sandbox answers {got.status_code}: {said(got.text)}")
                yield from _messages(got.iter_bytes())
        except httpx2.ReadTimeout:
            raise _Late from None
        except httpx2.HTTPError as error:
            raise WorldError(f"the sandbox: {named(error)}") from error

    def _kill(self, pid: int) -> None:
        """End a command. Raises `WorldError` where nobody knows that it ended."""
        body = {"process": {"pid": pid}, "signal": "SIGNAL_SIGKILL"}
        try:
            url = f"{self._url}/process.Process/SendSignal"
            got = self._http.post(url, headers=self._headers, json=body)
        except httpx2.HTTPError as error:
            raise WorldError(f"a command could not be ended: {named(error)}") from error
        if got.status_code not in (200, 404):
            raise WorldError(f"a command could not be ended: the sandbox answers {got.status_code}")

    def write(self, path: str, data: bytes) -> None:
        """Write a file."""
        self._file("POST", path, files={"file": (path, data)})

    def read(self, path: str) -> bytes:
        """What a file holds. `FileNotFoundError` where there is none."""
        return self._file("GET", path).content

    def _file(self, method: str, path: str, **more: Any) -> httpx2.Response:
        at = (
            path if path.startswith("/") or not self._how.workdir else f"{self._how.workdir}/{path}"
        )
        params = {"path": at, "username": self._how.user}
        headers = {k: v for k, v in self._headers.items() if k != "Connect-Protocol-Version"}
        try:
            got = self._http.request(
                method, f"{self._url}/files", params=params, headers=headers, **more
            )
        except httpx2.HTTPError as error:
            raise WorldError(f"file {path!r} of the sandbox: {named(error)}") from error
        if method == "GET" and got.status_code == 404:
            raise FileNotFoundError(f"no file {path!r}")
        if not got.is_success:
            why = f"{got.status_code}: {said(got.text)}"
            raise WorldError(f"file {path!r}: the sandbox answers {why}")
        return got


class _Late(Exception):
    """A command takes too long."""


class _Output:
    """What a command wrote, the middle left out where it is long."""

    def __init__(self) -> None:
        self._head, self._tail, self._left_out = b"", b"", 0

    def add(self, data: bytes) -> None:
        room = OUTPUT // 2 - len(self._head)
        self._head += data[:room]
        tail = self._tail + data[room:]
        self._left_out += max(0, len(tail) - OUTPUT // 2)
        self._tail = tail[-(OUTPUT // 2) :]

    def text(self) -> str:
        if not self._left_out:
            return (self._head + self._tail).decode("utf-8", "replace")
        head, tail = (part.decode("utf-8", "replace") for part in (self._head, self._tail))
        return f"{head}\n... {self._left_out} bytes left out ...\n{tail}"


def _messages(parts: Iterator[bytes]) -> Iterator[dict[str, Any]]:
    """The events of a stream, until its end. Raises `WorldError` for what the end says."""
    waiting = b""
    for part in parts:
        waiting += part
        while len(waiting) >= 5:
            flags, size = struct.unpack_from(">BI", waiting)
            if size > MOST or flags & 1:
                raise WorldError("the sandbox answers with a message that cannot be read")
            if len(waiting) < 5 + size:
                break
            message, waiting = json.loads(waiting[5 : 5 + size]), waiting[5 + size :]
            if not flags & 2:
                yield message.get("event", {})
                continue
            if error := message.get("error"):
                if error.get("code") == "deadline_exceeded":
                    raise _Late
                raise WorldError(f"the sandbox: {error.get('code')}: {error.get('message')}")
            return


def named(error: Exception) -> str:
    """An error in a line."""
    return f"{type(error).__name__} {error}".strip().split("\n", 1)[0]


def said(text: str) -> str:
    """What a service says is wrong, in a line."""
    with suppress(ValueError, RecursionError):
        found = json.loads(text)
        if isinstance(found, dict) and isinstance(found.get("message"), str):
            text = found["message"]
    return " ".join(text.split())[:200] or "nothing"
