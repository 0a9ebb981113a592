"""A server with the interface of E2B on loopback whose sandboxes are folders; it can misbehave.

Its forks are real: a snapshot is a copy of the folder, and a sandbox of it another one.
"""

import atexit
import base64
import functools
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit


class SandboxServer:
    """`start`, then `stop`, or a block.

    `faults` are what the next requests get to whose path a pattern fits: (pattern, fault), where a
    fault is "pass", a status, (status, headers), "drop" (no answer), "cut" (done, and no answer),
    "hang" (until `stop`) or a text that is sent as it is.
    """

    def __init__(self, key=""):
        self.key = key
        self.sandboxes, self.snapshots, self.metadata, self.names = {}, {}, {}, {}
        self.faults, self.seen, self.made, self.running = [], [], 0, {}
        self.over, self.lock = threading.Event(), threading.Lock()

    def start(self):
        self.folder = Path(tempfile.mkdtemp(prefix="sandboxes-"))
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), type("Answers", (Answers,), {"of": self}))
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()
        return self

    def stop(self):
        self.over.set()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join(20)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    @property
    def left(self):
        """What is still there."""
        return [*self.sandboxes, *self.snapshots]

    def forgotten(self):
        """How many are still there; they go."""
        with self.lock:
            many = len(self.left)
            self.sandboxes.clear()
            self.snapshots.clear()
        return many

    def fault(self, path):
        with self.lock:
            for n, (pattern, fault) in enumerate(self.faults):
                if re.search(pattern, path):
                    del self.faults[n]
                    return None if fault == "pass" else fault
        return None

    def new(self, of=None):
        """The name of a new folder: a copy of another one, or empty."""
        with self.lock:
            self.made += 1
            name = f"i{self.made:05}"
        if of is None:
            (self.folder / name).mkdir()
        else:
            shutil.copytree(self.folder / of, self.folder / name, symlinks=True)
        return name

    # --- the API ---------------------------------------------------------------------------------

    def create(self, body):
        template = body["templateID"]
        if template not in ("base", *self.snapshots):
            return 404, {"code": 404, "message": f"template '{template}' not found"}
        assert body["timeout"] > 0
        name = self.new(template if template in self.snapshots else None)
        self.sandboxes[name] = f"token-{name}"
        self.metadata[name] = body.get("metadata", {})
        found = {"templateID": template, "sandboxID": name, "clientID": "c", "envdVersion": "0.6.0"}
        return 201, {**found, "envdAccessToken": self.sandboxes[name], "domain": None}

    def snapshot(self, name, body):
        if name not in self.sandboxes:
            return 404, {"code": 404, "message": f"sandbox {name} not found"}
        taken = self.new(name)
        self.snapshots[taken] = name
        self.names[taken] = [f"team/{body['name']}:default"] if body.get("name") else []
        return 201, {"snapshotID": taken, "names": self.names[taken]}

    def delete(self, kind, name):
        found = self.sandboxes if kind == "sandboxes" else self.snapshots
        if found.pop(name, None) is None:
            return 404, {"code": 404, "message": "not found"}
        shutil.rmtree(self.folder / name)
        return 204, None

    def api(self, method, path, query, body):
        parts = [unquote(part) for part in path.strip("/").split("/")]
        if parts[0] == "v2":
            parts.pop(0)
        if method == "POST" and parts == ["sandboxes"]:
            return self.create(body)
        if method == "POST" and parts[2:] == ["snapshots"]:
            return self.snapshot(parts[1], body)
        if method == "POST" and parts[2:] == ["timeout"] and parts[1] in self.sandboxes:
            return 204, None
        if method == "DELETE" and len(parts) == 2:
            return self.delete(*parts)
        if method == "GET" and parts == ["sandboxes"]:  # all of them: filters are a wish
            return 200, [{"sandboxID": k, "metadata": v} for k, v in self.metadata.items()]
        if method == "GET" and parts == ["snapshots"]:
            return 200, [{"snapshotID": k, "names": v} for k, v in self.names.items()]
        return 404, {"code": 404, "message": "no such path"}


class Answers(BaseHTTPRequestHandler):
    """One request."""

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.body()
        server, split = self.of, urlsplit(self.path)
        path, query = split.path, parse_qs(split.query)
        server.seen.append((self.command, path, dict(self.headers)))
        fault = server.fault(path)
        if fault == "drop":
            return self.connection.close()
        if fault == "hang":
            return server.over.wait(60)
        if isinstance(fault, int):
            return self.say(fault, {"code": fault, "message": "not\nnow"})
        if isinstance(fault, tuple):
            return self.say(fault[0], {"code": fault[0], "message": "later"}, fault[1])
        if fault is not None and fault != "cut":
            return self.say(201, fault)
        if path == "/files" or path.startswith("/process."):
            name = self.headers["E2b-Sandbox-Id"]
            if server.sandboxes.get(name) != self.headers["X-Access-Token"]:
                return self.say(401, {"code": 401, "message": "unauthorized"})
            if "X-API-Key" in self.headers:
                return self.say(400, {"code": 400, "message": "the key reached a sandbox"})
            return self.inside(server.folder / name, path, query, body, fault)
        if self.headers.get("X-API-Key", "") != server.key:
            return self.say(401, {"code": 401, "message": "Invalid API key"})
        answer = server.api(self.command, path, query, json.loads(body or "{}"))
        return self.connection.close() if fault == "cut" else self.say(*answer)

    do_GET = do_DELETE = do_POST

    def body(self):
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        return b"".join(parts)

    def say(self, status, answer, headers=()):
        text = (
            b""
            if answer is None
            else (answer if isinstance(answer, str) else json.dumps(answer)).encode()
        )
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def inside(self, folder, path, query, body, fault):
        if path == "/files":
            return self.file(folder / query["path"][0].lstrip("/"), body)
        if path == "/process.Process/SendSignal":
            pid = json.loads(body)["process"]["pid"]
            try:
                os.killpg(pid, signal.SIGKILL)
            except ProcessLookupError:
                return self.say(404, {"code": "not_found"})
            return self.say(200, {})
        assert path == "/process.Process/Start" and body[0] == 0
        assert struct.unpack(">I", body[1:5])[0] == len(body) - 5
        return self.command_of(folder, json.loads(body[5:])["process"], fault)

    def file(self, place, body):
        if self.command == "GET":
            if not place.is_file():
                return self.say(404, {"code": 404, "message": "no file"})
            return self.say(200, place.read_text())
        begin = body.index(b"\r\n\r\n") + 4
        end = body.rindex(b"\r\n--", 0, len(body) - 2)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(body[begin:end])
        return self.say(200, [{"path": str(place), "name": place.name, "type": "file"}])

    def command_of(self, folder, process, fault):
        def event(**found):
            return frame(0, {"event": found})

        seconds = int(self.headers["Connect-Timeout-Ms"]) / 1000
        self.send_response(200)
        self.send_header("content-type", "application/connect+json")
        self.end_headers()
        started = subprocess.Popen(
            [process["cmd"], *process["args"]],
            cwd=folder / process.get("cwd", "").lstrip("/"),
            env={"PATH": os.environ["PATH"], "HOME": str(folder), **process.get("envs", {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self.wfile.write(event(start={"pid": started.pid}) + event(keepalive={}))
        try:
            out, _ = started.communicate(timeout=60 if fault == "cut" else seconds)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            started.communicate()
            error = {"code": "deadline_exceeded", "message": "context deadline exceeded"}
            return self.wfile.write(frame(2, {"error": error}))
        if out:
            data = event(data={"stdout": base64.b64encode(out).decode()})
            self.wfile.write(data[:7])
            self.wfile.flush()
            self.wfile.write(data[7:])
        if fault == "cut":
            return self.connection.close()
        ended = {"exited": True, "status": f"exit status {started.returncode}"}
        if started.returncode:
            ended["exitCode"] = started.returncode
        return self.wfile.write(event(end=ended) + frame(2, {}))


def frame(flags, message):
    text = json.dumps(message).encode()
    return struct.pack(">BI", flags, len(text)) + text


@functools.cache
def shared_server():
    """That of this process."""
    server = SandboxServer().start()
    atexit.register(server.stop)
    return server


def forgotten():
    """Wait until snapshots that were dropped are deleted."""
    for thread in threading.enumerate():
        if thread.name == "forget a snapshot":
            thread.join(20)
