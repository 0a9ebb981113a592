"""`PYTHON agent_host.py SOCKET KIND FILE`: one process that agents are forked from.

It makes the imports that stand at the head of the agent's file, and of files beside it, once; the
file itself runs in each child, which begins as a fresh process does: with its own environment,
folder, arguments, input and output. KIND is "script", or "function" of a file.

Requests come over the socket, four bytes of length before each, with the child's three open files:
{"number": N, "words": [...], "folder": "...", "env": {...}, "seed": N}. Answers are lines: once
{"threads": [...], "failed": {...}}, then {"number": N, "pid": N} and {"number": N, "code": N}, or
{"number": N, "anew": true} for what has to be a new process. When the socket closes, all children
end.

Standard library alone: it runs by the interpreter that has the agent's framework.
"""

from __future__ import annotations

import ast
import atexit
import contextlib
import ctypes
import gc
import importlib.machinery
import importlib.util
import json
import os
import random
import select
import signal
import socket
import sys
import threading
import traceback
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

END_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux
SCRIPTS: dict[Path, tuple[int, Any]] = {}  # path -> when it was changed, its code


# --- what is imported once ------------------------------------------------------------------------


def head(path: Path) -> Iterator[ast.Import | ast.ImportFrom]:
    """Imports at the head of a file, up to the first statement that may mean something to them."""
    try:
        body = ast.parse(path.read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return  # each run says so
    for statement in body:
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            yield statement
        elif not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
            return


def modules(statement: ast.Import | ast.ImportFrom) -> list[str]:
    """The modules that a statement names; none where it is relative, or no import of a module."""
    if isinstance(statement, ast.Import):
        return [name.name for name in statement.names]
    return [statement.module] if statement.module and not statement.level else []


def beside(module: str, folder: Path) -> list[Path]:
    """The files of a module that lies in a folder, its packages first; none where it does not."""
    files, place = [], folder
    for part in module.split("."):
        own = [p for p in (place / part / "__init__.py", place / f"{part}.py") if p.is_file()]
        files += own[:1]
        place = place / part
    return files


def import_head(path: Path, folder: Path, failed: dict[str, str], seen: set[Path]) -> None:
    """Make the imports of a file's head; those of files beside it are followed, not made.

    `failed` gets what could not be imported here, and why: each run tries again.
    """
    seen.add(path)
    for statement in head(path):
        names = modules(statement)
        own = [file for name in names for file in beside(name, folder)]
        for file in own:
            if file not in seen:
                import_head(file, folder, failed, seen)
        if own or not names or "__future__" in names:
            continue
        code = compile(ast.Module([statement], []), str(path), "exec")
        try:
            exec(code, {"__name__": "__imports__"})
        except BaseException as error:
            failed[names[0]] = f"{type(error).__name__}: {error}".split("\n", 1)[0][:200]


class Learned:
    """What the first run imports beyond the head of its file: more of the packages there.

    Clients of endpoints import their parts at the first use. A child tells them over a pipe.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.known = str(folder), frozenset[str]()
        self.child, self.done, self.read, self.write = 0, False, 0, 0

    def begin(self) -> bool:
        """Before a child is forked: whether it is to tell."""
        if self.done or self.child:
            return False
        self.known = frozenset(sys.modules)
        self.read, self.write = os.pipe()
        os.set_blocking(self.read, False)
        os.set_blocking(self.write, False)
        return True

    def begun(self, child: int) -> None:
        """It was forked, or not: 0."""
        self.child = child
        os.close(self.write)
        if not child:
            os.close(self.read)

    def tell(self) -> None:
        """In the child, at its end."""
        tops = {name.partition(".")[0] for name in self.known} - {"__main__"}
        new = [n for n in sys.modules if n not in self.known and n.partition(".")[0] in tops]
        files = {n: getattr(sys.modules[n], "__file__", None) or "" for n in new}
        own = [n for n in new if os.path.dirname(files[n]) != self.folder]
        os.write(self.write, json.dumps(own).encode())

    def make(self) -> None:
        """In the host, when it has ended: the same imports. One that told nothing is no loss."""
        self.child = 0
        with contextlib.suppress(OSError, ValueError):
            names = json.loads(os.read(self.read, 2**20))
            self.done = True
            for name in names:
                with contextlib.suppress(BaseException):
                    importlib.import_module(name)
            gc.freeze()
        os.close(self.read)


def running_threads() -> list[str]:
    """Threads beside the main one, which no child would have."""
    named = [t.name for t in threading.enumerate() if t is not threading.main_thread()]
    with_native = len(os.listdir("/proc/self/task")) - 1
    return named or ["a thread of a library"] * with_native


# --- the children ---------------------------------------------------------------------------------


def code_of(path: Path) -> Any:
    """The code of a script, compiled when it has changed."""
    changed = path.stat().st_mtime_ns
    if SCRIPTS.get(path, (0, None))[0] != changed:
        SCRIPTS[path] = changed, compile(path.read_bytes(), str(path), "exec")
    return SCRIPTS[path][1]


def run_script(words: list[str]) -> None:
    """Run a script as `python SCRIPT ...` does."""
    path = Path(words[0])
    main = types.ModuleType("__main__")
    main.__dict__.update(__file__=str(path), __cached__=None, __builtins__=__builtins__)
    main.__loader__ = importlib.machinery.SourceFileLoader("__main__", str(path))
    sys.modules["__main__"] = main
    exec(code_of(path), main.__dict__)


def run_function(words: list[str]) -> None:
    """Call the function of a file with its task and its session."""
    from hornbeam.gateway.agent_function import main

    main(words[0], words[1])


def become(request: dict[str, Any], kind: str, files: list[int]) -> None:
    """What a fresh process of the agent would be, and run it."""
    for number, file in enumerate(files):
        os.dup2(file, number)
    for file in files:
        os.close(file)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["env"])
    # The generators of libraries are the host's own in every child; these begin with the task.
    random.seed(request["seed"])
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed(request["seed"])
    words = request["words"]
    sys.argv = list(words) if kind == "script" else ["", *words]
    (run_script if kind == "script" else run_function)(words)


def child(
    request: dict[str, Any], kind: str, files: list[int], host: int, learned: Learned | None
) -> NoReturn:
    """Run the agent, then end as an interpreter does: threads awaited, output written."""
    code = 0
    try:
        ctypes.CDLL(None).prctl(END_WITH_PARENT, signal.SIGKILL)
        if os.getppid() != host:
            os._exit(1)
        become(request, kind, files)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        code = 1
        traceback.print_exc()
    try:
        getattr(threading, "_shutdown")()  # noqa: B009  (what the interpreter does at its end)
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        if learned is not None:
            learned.tell()
    finally:
        os._exit(code & 0xFF)


# --- the host -------------------------------------------------------------------------------------


def received(link: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """The next request with its open files; None where nobody sends any more."""
    length, files, _, _ = socket.recv_fds(link, 4, 3)
    if len(length) < 4:
        return None
    body = bytearray()
    while (left := int.from_bytes(length, "big") - len(body)) > 0:
        part = link.recv(min(left, 65536))  # what is behind it is another request
        if not part:
            return None
        body.extend(part)
    return json.loads(body), list(files)


def ended(pid: int) -> int:
    """The exit code of a child that has ended; what it left in its group ends, too."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # its number is its own until it is awaited
    end_group(pid)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def end_group(pid: int) -> None:
    """End a child and all of its group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


class Children:
    """The children of this host, told of over its socket."""

    def __init__(self, link: socket.socket, kind: str, folder: Path) -> None:
        self.link, self.kind, self.learned = link, kind, Learned(folder)
        self.me, self.poll = os.getpid(), select.poll()
        self.running: dict[int, tuple[int, int]] = {}  # open file -> process, request's number
        self.threads: list[str] = []  # that imports have started: nothing is forked any more
        self.poll.register(link, select.POLLIN)

    def tell(self, **what: Any) -> None:
        """A line for who asks."""
        self.link.sendall(json.dumps(what).encode() + b"\n")

    def begin(self, request: dict[str, Any], files: list[int]) -> None:
        """Fork a child; where that would lack threads, who asks is told to make a new process."""
        if self.threads:
            for each in files:
                os.close(each)
            self.tell(number=request["number"], anew=True)
            return
        if self.kind == "script":
            with contextlib.suppress(Exception):  # the child says it
                code_of(Path(request["words"][0]))
        asked, pid = False, 0
        try:
            if len(files) < len(("in", "out", "err")):
                raise OSError("too many open files")  # what has no room is not received
            asked = self.learned.begin()
            pid = os.fork()
            if not pid:
                self.link.close()
                for other in self.running:
                    os.close(other)
                os.setpgid(0, 0)
                child(request, self.kind, files, self.me, self.learned if asked else None)
            with contextlib.suppress(PermissionError, ProcessLookupError):  # it was faster
                os.setpgid(pid, pid)
            watched = os.pidfd_open(pid)
        except OSError as error:  # as many processes or files as there may be
            if pid:
                end_group(pid)
                os.waitpid(pid, 0)
                pid = 0
            self.tell(number=request["number"], refused=str(error))
        else:
            self.running[watched] = pid, request["number"]
            self.poll.register(watched, select.POLLIN)
            self.tell(number=request["number"], pid=pid)
        if asked:
            self.learned.begun(pid)
        for each in files:
            os.close(each)

    def end(self, watched: int) -> None:
        """Tell how a child ended, and learn from the first."""
        pid, number = self.running.pop(watched)
        self.poll.unregister(watched)
        os.close(watched)
        self.tell(number=number, code=ended(pid))
        if pid == self.learned.child:
            self.learned.make()
            self.threads = running_threads()
            if self.threads:
                self.tell(threads=self.threads, failed={})

    def serve(self) -> None:
        """Until the socket closes; then all end."""
        try:
            while True:
                for file, _ in self.poll.poll():
                    if file in self.running:
                        self.end(file)
                    elif (got := received(self.link)) is None:
                        return
                    else:
                        self.begin(*got)
        except (BrokenPipeError, ConnectionResetError):
            return
        finally:
            if os.getpid() == self.me:
                for pid, _ in self.running.values():
                    end_group(pid)


def package() -> None:
    """Make this package importable where the interpreter has none."""
    path = Path(__file__).with_name("function_starter.py")
    spec = importlib.util.spec_from_file_location("function_starter", path)
    assert spec is not None and spec.loader is not None
    starter = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(starter)
    starter.find_package()
    importlib.import_module("hornbeam.gateway.agent_function")


def main(number: str, kind: str, file: str) -> None:
    """Import what the agent's file begins with, and serve."""
    if not hasattr(os, "pidfd_open"):
        sys.exit("agents are forked on Linux, by Python 3.9 or newer")
    link, path, failed = socket.socket(fileno=int(number)), Path(file), dict[str, str]()
    if kind == "script":
        sys.path[0] = str(path.parent)
    else:
        del sys.path[0]
        package()
    import_head(path, path.parent, failed, set())
    threads = running_threads()
    link.sendall(json.dumps({"threads": threads, "failed": failed}).encode() + b"\n")
    if threads:
        return
    gc.collect()
    gc.freeze()  # its pages stay shared with the children
    Children(link, kind, path.parent).serve()


if __name__ == "__main__":
    main(*sys.argv[1:4])
