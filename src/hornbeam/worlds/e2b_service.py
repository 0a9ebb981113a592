"""Sandboxes of E2B, or of whatever speaks its HTTP interface.

Two addresses: the API that makes sandboxes (POST /sandboxes, POST /sandboxes/ID/snapshots; a
snapshot is a template of its own), and in each sandbox envd, which runs commands (process.Process
of the Connect protocol, as JSON) and keeps files (/files). What is asked twice can be done twice:
so only what was refused (429, 503) is tried again, and what was made in an answer that got lost is
looked for by a mark and ended. Whatever is left when the process ends is ended then, or by the next
process (held_names), or by the service after `lifetime`.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx2

from hornbeam.errors import WorldError
from hornbeam.settings import Settings
from hornbeam.worlds.envd_commands import Envd, named, said
from hornbeam.worlds.held_names import HeldNames
from hornbeam.worlds.shell_commands import Ran

TRIES, LONGEST = 4, 10.0  # of what is refused for now; seconds between two
NAMES = {"sandboxID": r"[\w.-]+", "snapshotID": r"[\w./:@-]+"}
SANDBOX, SNAPSHOT = "sandbox", "snapshot"


class E2bAddress(Settings):
    """Where sandboxes are made, by whom, and how long they live. Times in seconds."""

    url: str
    sandbox_url: str
    key_env: str
    user: str
    workdir: str
    timeout: float
    lifetime: int
    network: bool

    def key(self) -> str:
        """The key of the environment. Raises `WorldError`."""
        if not self.key_env:
            return ""
        key = os.environ.get(self.key_env, "").strip()
        if not key or not key.isascii():
            raise WorldError(f"the key of {self.url} is looked for in {self.key_env}: set it")
        return key


class Sandbox(NamedTuple):
    """A sandbox that is there."""

    envd: Envd
    until: float  # when the service ends it, by the monotonic clock


class E2bService:
    """What makes, runs, copies and ends them. Raises `WorldError` of one line."""

    def __init__(self, how: E2bAddress) -> None:
        self.how = how
        key = how.key()
        self._http = httpx2.Client(
            headers={"X-API-Key": key} if key else {},
            verify=how.url.startswith("https"),  # certificates are slow to read
            timeout=httpx2.Timeout(how.timeout, connect=min(10, how.timeout), pool=None),
            limits=httpx2.Limits(max_connections=None),
        )
        self._inside = httpx2.Client(  # sandboxes never see the key
            verify=not how.sandbox_url.startswith("http:"),
            timeout=httpx2.Timeout(how.timeout, connect=min(10, how.timeout), pool=None),
            limits=httpx2.Limits(max_connections=None),
        )
        self._here: dict[str, Sandbox] = {}
        self._held = HeldNames(how.url)
        self._held.left_by_others(self._give_back)
        atexit.register(self._end, os.getpid())

    def create(self, template: str) -> str:
        """A new sandbox of a template."""
        return self._made(template or "base")

    def fork(self, snapshot: str) -> str:
        """A new sandbox of a snapshot."""
        return self._made(snapshot)

    def _made(self, template: str) -> str:
        mark = uuid.uuid4().hex
        body = {
            "templateID": template,
            "timeout": self.how.lifetime,
            "secure": True,
            "allow_internet_access": self.how.network,
            "metadata": {"hornbeam": mark},
        }
        began = time.monotonic()
        try:
            found = self._ask("POST", "/sandboxes", body)
            name = _name(found, "sandboxID")
        except WorldError:
            self._lost(f"/v2/sandboxes?metadata={quote(f'hornbeam={mark}')}", SANDBOX, mark)
            raise
        self._held.add(SANDBOX, name)
        envd = Envd(self._inside, self._address(found, name), self.how, name, found)
        self._here[name] = Sandbox(envd, began + self.how.lifetime)
        return name

    def _address(self, found: dict[str, Any], name: str) -> str:
        host = self.how.url.partition("://")[2].partition("/")[0]
        domain = found.get("domain") or host.removeprefix("api.")
        if not self.how.sandbox_url and not re.fullmatch(r"[\w.:-]+", str(domain), re.ASCII):
            raise WorldError(f"{self.how.url}: the domain of a sandbox is {domain!r}")
        return self.how.sandbox_url.rstrip("/") or f"https://49983-{name}.{domain}"

    def exec(self, sandbox: str, command: str, stdin: str, seconds: float) -> Ran:
        """Run a command."""
        return self._living(sandbox, seconds).run(command, stdin, seconds)

    def write(self, sandbox: str, path: str, data: bytes) -> None:
        """Write a file."""
        self._living(sandbox).write(path, data)

    def read(self, sandbox: str, path: str) -> bytes:
        """What a file holds."""
        return self._living(sandbox).read(path)

    def _living(self, sandbox: str, seconds: float = 0) -> Envd:
        """The inside of a sandbox, which lives on for half its lifetime at least."""
        found = self._here[sandbox]
        if found.until - time.monotonic() - seconds < self.how.lifetime / 2:
            until = time.monotonic() + self.how.lifetime
            self._ask("POST", f"/sandboxes/{sandbox}/timeout", {"timeout": self.how.lifetime})
            self._here[sandbox] = found._replace(until=until)
        return found.envd

    def snapshot(self, sandbox: str) -> str:
        """A snapshot, which outlives the sandbox."""
        mark = f"hornbeam-{uuid.uuid4().hex}"
        try:
            found = self._ask("POST", f"/sandboxes/{sandbox}/snapshots", {"name": mark})
            name = _name(found, "snapshotID")
        except WorldError as error:
            self._lost(f"/snapshots?sandboxID={sandbox}", SNAPSHOT, mark)
            raise WorldError(f'{error}; world.fork = "rerun" does without snapshots') from None
        self._held.add(SNAPSHOT, name)
        return name

    def forget(self, snapshot: str) -> None:
        """Delete a snapshot."""
        self._give_back(SNAPSHOT, snapshot)

    def destroy(self, sandbox: str) -> None:
        """End a sandbox."""
        self._here.pop(sandbox, None)
        self._give_back(SANDBOX, sandbox)

    def _give_back(self, kind: str, name: str) -> None:
        path = "/sandboxes" if kind == SANDBOX else "/templates"
        self._ask("DELETE", f"{path}/{quote(name, safe='')}", gone=True)
        self._held.remove(kind, name)

    def _lost(self, listed: str, kind: str, mark: str) -> None:
        """End what was made though nobody heard of it: what is listed with this mark."""
        with suppress(WorldError):
            for each in self._ask("GET", listed):
                marks = [*each.get("names", ()), *each.get("metadata", {}).values()]
                if any(mark in str(found) for found in marks):
                    name = _name(each, f"{kind}ID")
                    self._held.add(kind, name)
                    self._give_back(kind, name)

    def _end(self, process: int) -> None:
        if process != os.getpid():  # a copy of the one that holds them
            return
        for kind, name in self._held.now():
            with suppress(WorldError):
                self._give_back(kind, name)
        self._held.end()

    def _ask(self, method: str, path: str, body: Any = None, gone: bool = False) -> Any:
        """The JSON of an answer; with `gone`, what is not there is no error."""
        where = f"{method} {self.how.url}{path.partition('?')[0]}"
        wait = 0.5
        for left in reversed(range(TRIES)):
            try:
                got = self._http.request(method, f"{self.how.url}{path}", json=body)
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                raise WorldError(f"{where}: {named(error)}") from error
            if got.status_code not in (429, 503) or not left:
                break
            time.sleep(min(LONGEST, max(wait, _seconds(got.headers.get("retry-after", "")))))
            wait *= 2
        if gone and got.status_code == 404:
            return {}
        if not got.is_success:
            raise WorldError(f"{where} answers {got.status_code}: {said(got.text)}")
        try:
            return got.json() if got.content else {}
        except (ValueError, RecursionError):
            raise WorldError(f"{where} answers what is no JSON: {said(got.text)}") from None


_services: dict[tuple[int, E2bAddress], E2bService] = {}
_one = threading.Lock()


def service_at(
    how: E2bAddress, make: Callable[[E2bAddress], E2bService] = E2bService
) -> E2bService:
    """That of this process."""
    key = os.getpid(), how
    with _one:
        if key not in _services:
            _services[key] = make(how)
        return _services[key]


def _name(found: Any, key: str) -> str:
    name = found.get(key) if isinstance(found, dict) else None
    if not isinstance(name, str) or not re.fullmatch(NAMES[key], name, re.ASCII):
        raise WorldError(f"the service answers without a {key}: {said(json.dumps(found))}")
    return name


def _seconds(header: str) -> float:
    return float(header) if header.strip().isdigit() else 0.0
