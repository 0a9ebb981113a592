"""A server on loopback that answers as badly as it is told to: for bench/hostile.py and tests.

`CASES` names what becomes of an answer to /completions. A case that is `once` bad answers properly
from then on: the request is then answered, and counted once.
"""

from __future__ import annotations

import asyncio
import json
import threading
import zlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

Write = asyncio.StreamWriter
KEY = "sk-of-the-first-server"
TEXT = "an oak"
TOKENS = list(TEXT.encode())
PIECE = b"x" * 65536
MB = 1 << 20


def answer(**changes: Any) -> dict[str, Any]:
    """A proper answer to a completion, with changes of its choice; None takes a key out."""
    choice = {
        "index": 0,
        "text": TEXT,
        "finish_reason": "length",
        "token_ids": TOKENS,
        "logprobs": {"tokens": list(TEXT), "token_logprobs": [-0.5] * len(TOKENS)},
    }
    usage = changes.pop("usage", {"prompt_tokens": 20, "completion_tokens": len(TOKENS)})
    choice = {k: v for k, v in {**choice, **changes}.items() if v is not None}
    return {"object": "text_completion", "choices": [choice], "usage": usage}


def head(length: int | None, status: str = "200 OK", *more: str) -> bytes:
    """A head of HTTP."""
    lines = [f"HTTP/1.1 {status}", "content-type: application/json", *more]
    lines += [] if length is None else [f"content-length: {length}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def whole(body: Any, status: str = "200 OK", *more: str) -> bytes:
    """An answer with its head."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return head(len(data), status, *more) + data


def plain(body: Any, status: str = "200 OK", *more: str) -> Callable[[Write], Awaitable[None]]:
    """Sends an answer as it is."""

    async def send(write: Write) -> None:
        write.write(whole(body, status, *more))
        await write.drain()

    return send


def raw(data: bytes) -> Callable[[Write], Awaitable[None]]:
    """Sends bytes and ends the connection."""

    async def send(write: Write) -> None:
        write.write(data)
        await write.drain()
        write.close()

    return send


def logprobs(values: list[Any], **more: Any) -> Callable[[Write], Awaitable[None]]:
    """An answer with these log-probs (json.dumps writes NaN and Infinity)."""
    return plain(answer(logprobs={"tokens": list(TEXT), "token_logprobs": values}, **more))


async def dribble(write: Write) -> None:
    """A byte now and then, each in time."""
    write.write(head(100_000))
    while True:
        write.write(b" ")
        await write.drain()
        await asyncio.sleep(0.1)


async def dribble_head(write: Write) -> None:
    """A head that never ends."""
    write.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        write.write(b"x: y\r\n")
        await write.drain()
        await asyncio.sleep(0.1)


async def continues(write: Write) -> None:
    """Goes on saying that it goes on."""
    while True:
        write.write(b"HTTP/1.1 102 Processing\r\n\r\n")
        await write.drain()
        await asyncio.sleep(0.01)


async def endless(write: Write, status: str = "200 OK") -> None:
    """A body without end."""
    write.write(head(None, status, "transfer-encoding: chunked"))
    while True:
        write.write(b"10000\r\n" + PIECE + b"\r\n")
        await write.drain()


async def endless_error(write: Write) -> None:
    """The same with status 500."""
    await endless(write, "500 Internal Server Error")


async def huge(write: Write) -> None:
    """300 MB of valid JSON."""
    begin, end = b'{"choices": [{"text": "', b'"}]}'
    write.write(head(len(begin) + len(end) + 300 * MB) + begin)
    for _ in range(300 * MB // len(PIECE)):
        write.write(PIECE)
        await write.drain()
    write.write(end)
    await write.drain()


async def bomb(write: Write) -> None:
    """Half a gigabyte in half a megabyte."""
    packer = zlib.compressobj(9)
    begin = packer.flush(zlib.Z_FULL_FLUSH)
    piece = packer.compress(b" " * MB) + packer.flush(zlib.Z_FULL_FLUSH)
    await plain(begin + piece * 512, "200 OK", "content-encoding: deflate")(write)


async def silent(write: Write) -> None:
    """Nothing at all."""
    await asyncio.sleep(3600)


async def too_long(write: Write) -> None:
    """A length that never comes."""
    write.write(head(10_000) + json.dumps(answer()).encode())
    await write.drain()
    await asyncio.sleep(3600)


def deep(levels: int) -> dict[str, Any]:
    """Errors within errors."""
    found: Any = "there"
    for _ in range(levels):
        found = {"error": found}
    return dict(found)


@dataclass(frozen=True)
class ServerCase:
    """What it sends; whether once alone; whether the request has an answer; with log-probs."""

    send: Callable[[Write], Awaitable[None]]
    once: bool = False
    answered: bool = False
    scored: bool = False  # the answer has log-probs
    words: str = ""  # of the error
    marks: tuple[str, ...] = ()  # "fault": something that was told is left out, and counted


def retry(header: str, status: str = "429 Too Many Requests", **how: Any) -> ServerCase:
    """Asks to wait."""
    return ServerCase(plain({"error": "slow down"}, status, f"retry-after: {header}"), **how)


LATE = "no answer within timeout"
LARGE = "more than"
ANSWERED = {"answered": True}
FAULTY = {"answered": True, "marks": ("fault",)}
ONCE = {"once": True, "answered": True, "scored": True}

CASES: dict[str, ServerCase] = {
    # slow
    "bytes one by one": ServerCase(dribble, words=LATE),
    "a head without end": ServerCase(dribble_head, words=LATE),
    "102 without end": ServerCase(continues, words=LATE),
    "silence": ServerCase(silent, words=LATE),
    "a length that never comes": ServerCase(too_long, words=LATE),
    # large
    "a body without end": ServerCase(endless, words=LARGE),
    "an error without end": ServerCase(endless_error, words="500"),
    "300 MB of JSON": ServerCase(huge, words=LARGE),
    "512 MB in half a megabyte": ServerCase(bomb, words=LARGE),
    "3 MB for 24 tokens": ServerCase(
        plain(answer(text="oak " * 750_000, token_ids=None)), **FAULTY
    ),
    "a header of 1 MB": ServerCase(raw(b"HTTP/1.1 200 OK\r\nx: " + b"y" * MB + b"\r\n\r\n{}")),
    "a refusal of 3 MB": ServerCase(
        plain({"error": "no " * MB}, "400 Bad Request"), words="refused"
    ),
    # cut
    "cut in its middle": ServerCase(raw(whole(answer())[:-40])),
    "cut once": ServerCase(raw(whole(answer())[:-40]), **ONCE),
    "a length too short": ServerCase(
        raw(head(40) + json.dumps(answer()).encode()), words="no JSON"
    ),
    "two lengths": ServerCase(raw(head(4, "200 OK", "content-length: 5") + b"{}  ")),
    "hangs up": ServerCase(raw(b"")),
    "no HTTP": ServerCase(raw(b"SSH-2.0-OpenSSH_9.6\r\n")),
    "broken gzip": ServerCase(plain(b"no gzip", "200 OK", "content-encoding: gzip")),
    # elsewhere
    "moved to another host": ServerCase(
        plain({}, "307 Temporary Redirect", "location: {other}"), words="moved to"
    ),
    "moved with control codes": ServerCase(
        plain({}, "302 Found", "location: \x1b]0;owned\x07" + "x" * 5000), words="moved to"
    ),
    "status 204": ServerCase(raw(b"HTTP/1.1 204 No Content\r\n\r\n")),
    "status 999": ServerCase(plain(answer(), "999 Odd"), words="999"),
    # no JSON
    "a page of HTML": ServerCase(plain(b"<html>busy</html>"), words="no JSON"),
    "brackets without end": ServerCase(plain(b"[" * 100_000), words="no JSON"),
    "900 brackets": ServerCase(plain(b"[" * 900 + b"]" * 900), words="no JSON"),
    "errors in errors": ServerCase(plain(deep(900))),
    "a number of 9,000 digits": ServerCase(
        plain(b'{"usage": {"total_tokens": ' + b"9" * 9000 + b"}}"), words="no JSON"
    ),
    "bytes that are no text": ServerCase(plain(b"\xff\xfe\x00"), words="no JSON"),
    "an error inside a 200": ServerCase(
        plain({"error": {"message": "busy", "code": 503}}), words="503"
    ),
    "an error inside a 200, once": ServerCase(plain({"error": {"code": 503}}), **ONCE),
    "no choices": ServerCase(plain({"choices": [], "usage": None})),
    "control codes in an error": ServerCase(
        plain({"error": {"message": "\x1b[2J\x1b]0;owned\x07no"}}, "400 Bad Request"),
        words="refused",
    ),
    # of other types
    "types of all kinds": ServerCase(
        plain(
            {
                "choices": [
                    {"text": ["a", 3], "token_ids": "x", "logprobs": 3, "finish_reason": {}}
                ],
                "usage": [1],
            }
        ),
        **ANSWERED,
    ),
    "half a surrogate pair": ServerCase(plain(answer(text="\ud800", token_ids=None)), **ANSWERED),
    "ids of another vocabulary": ServerCase(plain(answer(token_ids=[5_000_000] * 6)), **FAULTY),
    "ids below 0": ServerCase(plain(answer(token_ids=[-1] * 6)), **ANSWERED),
    "usage below 0": ServerCase(
        plain(answer(usage={"prompt_tokens": -5, "completion_tokens": -7})),
        answered=True,
        scored=True,
    ),
    "usage of two billion": ServerCase(
        plain(answer(usage={"prompt_tokens": 2_000_000_000, "completion_tokens": 2_000_000_000})),
        answered=True,
        scored=True,
    ),
    # log-probs
    "log-probs of NaN": ServerCase(logprobs([float("nan")] * 6), **FAULTY),
    "log-probs of -inf": ServerCase(logprobs([-float("inf")] * 6), **FAULTY),
    "log-probs above 0": ServerCase(logprobs([0.7] * 6), **FAULTY),
    "too few log-probs": ServerCase(logprobs([-0.5] * 2), **FAULTY),
    "too many log-probs": ServerCase(logprobs([-0.5] * 9), **FAULTY),
    "log-probs of text": ServerCase(logprobs(["low"] * 6), **FAULTY),
    # asks to wait
    "429, wait -5": retry("-5", once=True, answered=True, scored=True),
    "429, wait nan": retry("nan", once=True, answered=True, scored=True),
    "429, wait 1e300": retry("1e300", words="asks for"),
    "429, wait until year 99999": retry(f"Fri, 31 Dec {'9' * 30} 00:00:00 GMT", **ONCE),
    "429, wait of an odd zone": retry("Fri, 31 Dec 2027 00:00:00 +999999", **ONCE),
    "503, wait until 2090": retry("Fri, 31 Dec 2090 00:00:00 GMT", "503 No", words="asks for"),
    "503 for ever": ServerCase(plain({}, "503 Service Unavailable"), words="503"),
}


class HostileServer:
    """A block on loopback that behaves as `case`; `heard` are requests, `strayed` another's."""

    def __init__(self, case: ServerCase) -> None:
        self.case, self.port, self.other = case, 0, 0
        self.heard: list[str] = []
        self.strayed: list[str] = []

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> HostileServer:
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)), daemon=True)
        self._thread.start()
        assert ready.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(20)

    async def _serve(self, ready: threading.Event) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        self._lines: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._line, "127.0.0.1", 0)
        other = await asyncio.start_server(self._stray, "127.0.0.1", 0)
        self.port, self.other = (s.sockets[0].getsockname()[1] for s in (server, other))
        ready.set()
        await self._over.wait()
        for each in (server, other):
            each.close()
        for task in list(self._lines):
            task.cancel()
        await asyncio.gather(*self._lines, return_exceptions=True)

    async def _request(self, read: asyncio.StreamReader) -> str:
        begin = (await read.readuntil(b"\r\n\r\n")).decode()
        length = next(
            (
                int(x.split(":")[1])
                for x in begin.lower().split("\r\n")
                if x.startswith("content-length")
            ),
            0,
        )
        await read.readexactly(length)
        return begin

    async def _stray(self, read: asyncio.StreamReader, write: Write) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            self.strayed.append(await self._request(read))
            write.write(whole(answer()))
        write.close()

    async def _line(self, read: asyncio.StreamReader, write: Write) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._lines.add(task)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while not write.is_closing():
                self.heard.append(await self._request(read))
                if self.case.once and len(self.heard) > 1:
                    await plain(answer())(write)
                    continue
                if self.case.words == "moved to" and "another host" in self._name():
                    there = f"location: http://127.0.0.1:{self.other}/v1/completions"
                    await plain({}, "307 Temporary Redirect", there)(write)
                    continue
                await self.case.send(write)
        self._lines.discard(task)
        write.close()

    def _name(self) -> str:
        return next(name for name, case in CASES.items() if case is self.case)
