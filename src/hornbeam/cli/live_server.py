"""The page of a run that goes on, served on this machine only.

The server is the standard library's: it answers one person's browser on loopback, whose page asks
every two seconds. Nothing outside reaches it: it listens on 127.0.0.1, and answers only to that
name, so that no page from elsewhere can read along.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from hornbeam.assembly.run_folder import report_data
from hornbeam.errors import HornbeamError, StoreError
from hornbeam.store.database import Store, TreeKey
from hornbeam.store.locks import holder
from hornbeam.tree.nodes import Tree, canonical
from hornbeam.view import ReportData, live_html

HOST = "127.0.0.1"
SHARE = 10  # a page that took a CPU second to make is not made anew for ten
KEPT = 1000  # trees that change no more, kept for the next page


class LiveRun:
    """A run folder as it is now: in which state, and its page. It need not be there yet."""

    def __init__(
        self, run: Path, store: str | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.run, self.place, self._clock = run, store or run, clock
        self._lock = threading.Lock()
        self._version, self._page, self._next = "", b"", 0.0
        self._trees: dict[TreeKey, Tree] = {}

    def state(self) -> dict[str, str]:
        """{"state", "line", "version"}: in a word, in a sentence, and what tells pages apart."""
        try:
            with Store(self.place, read_only=True) as store:
                return self._told(store)
        except StoreError:
            if self.place == self.run and not (self.run / "run.db").is_file():
                line = f"Waiting for a run to begin in {self.run}."
                return {"state": "waiting", "line": line, "version": "0"}
            raise

    def _told(self, store: Store) -> dict[str, str]:
        rows = store.metrics()
        with store.reading("value of 'recipe'"):
            steps = int(store.kept_recipe().get("run", {}).get("steps") or 0)
        done = sum(row.get("kind") == "train" for row in rows)
        ended = any(row.get("stage") == "final" and row.get("step") == steps for row in rows)
        far = f"step {done} of {steps}"
        if self.place == self.run and holder(self.run):
            state, line = "running", f"Running: {far}."
        elif ended or (steps and done == steps and (self.run / "final").is_dir()):
            state, line = "ended", f"Ended: {far}."
        elif self.place == self.run:
            state, line = "stopped", f"Stopped at {far}; the same command goes on."
        else:
            state, line = "running", f"Not ended: {far}."  # who trains elsewhere cannot be seen
        return {"state": state, "line": line, "version": f"{len(rows)} {state}"}

    def page(self) -> bytes:
        """The page, made anew where there is something new, and not all the time."""
        with self._lock:
            version = self.state()["version"]
            if self._page and (version == self._version or self._clock() < self._next):
                return self._page
            began = time.thread_time()
            self._page = live_html(self._data(), version).encode("utf-8", "replace")
            self._version = version
            self._next = self._clock() + SHARE * (time.thread_time() - began)
            return self._page

    def _data(self) -> ReportData:
        name = self.run.resolve().name
        if self.place == self.run and not (self.run / "run.db").is_file():
            return ReportData(name)
        with Store(self.place, read_only=True) as store:
            title = str(store.kept_recipe().get("run", {}).get("title") or name)
            trained = sum(row.get("kind") == "train" for row in store.metrics())
            return report_data(self.run, store, title, read=partial(self._tree, store, trained))

    def _tree(self, store: Store, trained: int, key: TreeKey) -> Tree:
        """A tree as it is now; one that is grown, and credited where it is trained on, is kept."""
        if key in self._trees:
            return self._trees[key]
        stored = store.read(key)
        tree = canonical(stored.tree)
        if stored.done and (key.stage != "train" or key.step < trained):
            if len(self._trees) >= KEPT:
                self._trees.clear()
            self._trees[key] = tree
        return tree


class LiveServer(ThreadingHTTPServer):
    """Serves the page of a run on loopback. `port` 0: a free one. Raises `StoreError`."""

    daemon_threads = True  # Ctrl-C ends them at once

    def __init__(self, live: LiveRun, port: int = 0) -> None:
        self.live = live
        try:
            super().__init__((HOST, port), _Answer)
        except (OSError, OverflowError) as error:
            raise StoreError(f"--port {port}: {error}: choose another one") from error
        self.names = {f"{name}:{self.server_port}" for name in (HOST, "localhost")}
        self.url = f"http://{HOST}:{self.server_port}/"


class _Answer(BaseHTTPRequestHandler):
    server: LiveServer

    def do_GET(self) -> None:
        """The page, or what is new."""
        if self.headers.get("Host") not in self.server.names:
            self._send(HTTPStatus.FORBIDDEN, "text/plain", b"this page is of this machine only\n")
            return
        try:
            if self.path in ("/", "/page"):
                self._send(HTTPStatus.OK, "text/html", self.server.live.page())
            elif self.path == "/state":
                told = json.dumps(self.server.live.state()).encode()
                self._send(HTTPStatus.OK, "application/json", told)
            else:
                self._send(HTTPStatus.NOT_FOUND, "text/plain", b"there is no such page\n")
        except HornbeamError as error:
            line = f"{error}\n".encode("utf-8", "replace")
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain", line)

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("X-Frame-Options", "DENY")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is said of requests."""


def serve(run: Path, store: str | None, port: int, say: Callable[[str], None]) -> None:
    """Serve the page of a run until Ctrl-C."""
    with LiveServer(LiveRun(run, store), port) as server:
        try:
            say(f"Live: {server.url} (Ctrl-C ends it)")
            server.serve_forever()
        except KeyboardInterrupt:
            say("")
