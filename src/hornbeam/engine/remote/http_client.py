"""Requests to one HTTP server: so many at once, paced, tried again, counted.

A server that is down, overloaded or restarting is waited for, whether its status says so or an
error inside a 200; what it says of the request itself (any other status) goes back to who asked.
The key comes from the environment, is never told, and goes nowhere else: no redirect is followed.
What a server sends is read within bounds of time and size, whatever it says of its length.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from itertools import count
from random import uniform
from time import monotonic, time
from typing import Any

import httpx2
from pydantic import Field

from hornbeam.engine.remote.fields import real
from hornbeam.errors import EngineError, EngineLost
from hornbeam.settings import Settings

HIDDEN = "[key]"  # stands where a server told the key back
FIRST, LONGEST = 0.5, 30.0  # seconds between two tries, before jitter
FEW = 5.0  # seconds
LARGEST, EACH = 16 << 20, 4096  # bytes of an answer, and more for each token of the request
ERROR = 1 << 20  # bytes that are read of an answer that is an error
ENCODINGS = "gzip, deflate"  # of these a piece grows a thousandfold at the most
AGAIN = {408, 409, 425, 429}  # and all from 500 on

Read = Callable[[Any], tuple[int, Any]]  # (200, what is said), or (status, words) of an error


class HttpSettings(Settings):
    """Where a server is and how it is asked. Times in seconds, 0 is no bound on rates and context.

    `url` ends where "/completions" would follow. `model` is a name that it serves ("": the only
    one). `tokenizer`, a folder or known model, is that of the served model ("": the recipe's).
    `key_env` names the variable of the environment that holds the key. `timeout` is that of one
    try, `deadline` of a request with all its tries, `patience` how long a server may be down or
    refuse. Prices are per million tokens.
    """

    url: str = Field(pattern=r"^https?://[^\s/@?#]+(/[^\s@?#]*)?$")
    model: str = ""
    tokenizer: str = ""
    key_env: str = ""
    concurrency: int = Field(64, ge=1)
    requests_minute: float = Field(0, ge=0)
    tokens_minute: float = Field(0, ge=0)
    timeout: float = Field(600, gt=0)
    patience: float = Field(120, ge=0)
    deadline: float = Field(3600, gt=0)
    context: int = Field(0, ge=0)
    prompt_price: float = Field(0, ge=0)
    sampled_price: float = Field(0, ge=0)

    @property
    def root(self) -> str:
        """`url` without a slash at its end."""
        return self.url.rstrip("/")


class Refused(EngineError):
    """A request that the server does not take as it is; its status and its answer, if known."""

    def __init__(self, text: str, status: int = 0, answer: Any = None) -> None:
        super().__init__(text)
        self.status, self.answer = status, answer


@dataclass(slots=True)
class ServerUsage:
    """What was asked of a server, the probe and what was cut off included."""

    requests: int = 0  # tries included
    retries: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0  # of them
    sampled_tokens: int = 0
    uncounted: int = 0  # answers whose tokens were counted here, as the server told no usage
    faulty: int = 0  # answers of which something that was told was not taken

    def cost(self, settings: HttpSettings) -> float:
        """What all of it costs by the settings' prices."""
        prompt, sampled = settings.prompt_price, settings.sampled_price
        return (self.prompt_tokens * prompt + self.sampled_tokens * sampled) / 1e6

    def describe(self, settings: HttpSettings) -> str:
        """In a line."""
        again = f" ({self.retries:,} of them again)" if self.retries else ""
        cost = f", {self.cost(settings):.4g} by its prices" if self.cost(settings) else ""
        here = f"; no usage reported of {self.uncounted:,}, counted here" if self.uncounted else ""
        faulty = f"; {self.faulty:,} answers with faults" if self.faulty else ""
        return (
            f"{self.requests:,} requests{again}, {self.prompt_tokens:,} prompt tokens"
            f" ({self.cached_tokens:,} cached), {self.sampled_tokens:,} sampled{cost}{here}{faulty}"
        )


class RateLimit:
    """Lets so much a minute through, evenly; 0 is no bound."""

    def __init__(self, minute: float) -> None:
        self._seconds = 60 / minute if minute else 0.0
        self._free = 0.0

    async def take(self, amount: float) -> None:
        """Wait for the turn of so much."""
        at = max(monotonic(), self._free)
        self._free = at + amount * self._seconds
        if (wait := at - monotonic()) > 0:
            await asyncio.sleep(wait)

    def give(self, amount: float) -> None:
        """So much was not used."""
        self._free -= amount * self._seconds


class HttpClient:
    """One server. `say` is told when it is waited for and when it answers again."""

    def __init__(self, settings: HttpSettings, say: Callable[[str], None]) -> None:
        self.settings, self.account, self._say = settings, ServerUsage(), say
        self.tokens = RateLimit(settings.tokens_minute)
        self._requests = RateLimit(settings.requests_minute)
        self._key = _key(settings) if settings.key_env else ""
        self._headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._down = 0.0  # since when it is waited for

    def _open(self) -> None:
        """Connections belong to an event loop; a new one gets its own."""
        self._loop = asyncio.get_running_loop()
        most, timeout = self.settings.concurrency, self.settings.timeout
        self._slots = asyncio.Semaphore(most)
        self._http = httpx2.AsyncClient(
            headers={"Accept-Encoding": ENCODINGS, **self._headers},
            verify=self.settings.url.startswith("https"),  # certificates are slow to read
            timeout=httpx2.Timeout(None, connect=min(10, timeout)),  # `_once` bounds a whole try
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=most),
        )

    async def call(
        self, url: str, body: Any = None, tokens: int = 0, read: Read | None = None
    ) -> tuple[int, Any]:
        """(status, answer) of a POST, or a GET without a body; `tokens` is what it may use.

        `read` says what the answer of a 200 is, and with which status where it is an error.
        Raises `EngineLost` when patience or deadline are over, or the key is refused.
        """
        if self._loop is not asyncio.get_running_loop():
            self._open()
        async with self._slots:
            try:
                async with asyncio.timeout(self.settings.deadline):
                    status, answer = await self._tried(url, body, tokens, read)
            except TimeoutError:
                within = f"within deadline = {self.settings.deadline:g} s"
                raise EngineLost(f"{url}: no answer {within}") from None
        if status in (401, 403):
            env = self.settings.key_env
            what = f"the key in {env}" if env else "a request without a key: name its key_env"
            raise EngineLost(f"{url}: the server refuses {what} ({status})")
        return status, answer

    async def once(self, url: str, body: Any = None) -> tuple[int, Any]:
        """(status, answer), beside all other requests. Raises `EngineLost` where nobody answers.

        Asked twice where a connection breaks: it may have been an old one.
        """
        if self._loop is not asyncio.get_running_loop():
            self._open()
        for _ in range(2):
            status, answer, trouble, _ = await self._once(url, body)
            if status:
                return status, answer
        raise EngineLost(f"{url}: {trouble}: see that the server is up")

    async def _tried(self, url: str, body: Any, tokens: int, read: Read | None) -> tuple[int, Any]:
        wait, since = FIRST, 0.0
        for tries in count(1):
            await self._requests.take(1)
            await self.tokens.take(tokens)
            self.account.requests += 1
            status, answer, trouble, asked = await self._once(url, body, read, tokens)
            if not trouble:
                self._answers()
                return status, answer
            self.tokens.give(tokens)
            since = since or monotonic()
            left = since + self.settings.patience - monotonic()
            if left <= 0 or asked > left:
                hint = f", and asks for {asked:g} s" if asked else ""
                raise EngineLost(
                    f"{url}: {trouble}{hint}; {tries} tries, patience ="
                    f" {self.settings.patience:g} s: see that the server is up, or raise patience"
                )
            if status != 429 or asked > FEW:  # to be told to go slower is no news
                self._waits(url, trouble)
            self.account.retries += 1
            await asyncio.sleep(min(left, max(asked, wait * uniform(0.5, 1.5))))
            wait = min(2 * wait, LONGEST)
        raise AssertionError

    async def _once(
        self, url: str, body: Any, read: Read | None = None, tokens: int = 0
    ) -> tuple[int, Any, str, float]:
        """(status, answer, what is wrong with the server or "", seconds that it asks to wait)."""
        most = LARGEST + EACH * tokens
        try:
            async with asyncio.timeout(self.settings.timeout) as limit:
                response, data = await self._heard(url, body, most)
        except TimeoutError:
            if not limit.expired():
                raise
            return 0, None, f"no answer within timeout = {self.settings.timeout:g} s", 0.0
        except httpx2.InvalidURL as error:
            raise EngineLost(f"{url}: is no address: {error}") from error
        except httpx2.HTTPError as error:
            return 0, None, f"{type(error).__name__} {error}".strip(), 0.0
        if response.is_success and len(data) > most:
            self.tokens.give(tokens)
            raise EngineError(f"{url}: an answer of more than {most:,} bytes for {tokens:,} tokens")
        status, inside, answer = response.status_code, "", _said(response, data)
        if read is not None and response.is_success:
            status, answer = read(answer)
            if status != 200:
                text = " ".join(str(answer).split())[:200]
                inside = f" inside a {response.status_code}: {text}"
        if 300 <= status < 400:
            there = response.headers.get("location", "elsewhere")
            if self._key:
                there = there.replace(self._key, HIDDEN)
            answer = f"moved to {there[:200]}: see the url"
        if status in AGAIN or status >= 500:
            return status, None, f"the server answers {status}{inside}", _asked(response.headers)
        return status, answer, "", 0.0

    async def _heard(self, url: str, body: Any, most: int) -> tuple[httpx2.Response, bytearray]:
        """(response, its body), of which no more than a piece beyond `most` bytes is read."""
        data = bytearray()
        method = "GET" if body is None else "POST"
        async with self._http.stream(method, url, json=body) as response:
            encoding = response.headers.get("content-encoding", "").strip().lower()
            if encoding not in ("", "identity", *ENCODINGS.split(", ")):
                raise httpx2.DecodingError(f"of an encoding that was not asked for: {encoding:.40}")
            most = most if response.is_success else min(most, ERROR)
            async for piece in response.aiter_bytes():
                data += piece
                if len(data) > most:
                    break
        if self._key:  # some servers tell it in what they say of it
            data = data.replace(self._key.encode(), HIDDEN.encode())
        return response, data

    def _waits(self, url: str, trouble: str) -> None:
        if not self._down:
            self._down = monotonic()
            self._say(f"{url}: {trouble}; waiting up to {self.settings.patience:g} s")

    def _answers(self) -> None:
        if self._down:
            waited, self._down = monotonic() - self._down, 0.0
            self._say(f"{self.settings.root}: answers again after {waited:.1f} s")

    async def aclose(self) -> None:
        """Close the connections."""
        if self._loop is asyncio.get_running_loop():
            await self._http.aclose()
            self._loop = None


def _key(settings: HttpSettings) -> str:
    """The key. Raises `EngineError` where the environment has none."""
    key = os.environ.get(settings.key_env, "").strip()
    if not key or not key.isascii():
        raise EngineError(f"{settings.root}: the key is looked for in {settings.key_env}: set it")
    return key


def _said(response: httpx2.Response, data: bytearray) -> Any:
    """What a body says: JSON, or its text."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return data.decode(response.encoding or "utf-8", "replace")


def _asked(headers: Mapping[str, str]) -> float:
    """The seconds that a server asks to wait for; 0 where it gives none that can be read."""
    milliseconds = _number(headers.get("retry-after-ms", ""))
    header = headers.get("retry-after", "")
    return _seconds(header) if milliseconds is None else milliseconds / 1000


def _seconds(header: str) -> float:
    """What a Retry-After header asks for: seconds, or a date."""
    if (seconds := _number(header)) is not None:
        return seconds
    try:
        date = parsedate_to_datetime(header)
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - time())


def _number(header: str) -> float | None:
    """A number of seconds at or above 0; None for what is no number."""
    seconds = real(header.strip().removesuffix("s"))
    return None if seconds is None else max(0.0, seconds)
