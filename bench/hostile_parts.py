"""Tools, programs and scorers that mean harm, as the files that a recipe would name.

Each is a file with `tool`, `program` or `score`; what it does to the task "hostile" it does to no
other. `PARTS` says of each what it must come to: "failed", counted with one line, or "served".

Left out: tools and programs that end their process (os._exit, a signal, a fault of memory), close
its files or keep it in C code. They take the run with them, and belong behind an MCP server.
"""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import dedent, indent

HEAD = """
import asyncio, os, re, signal, subprocess, sys, threading, time
class Odd(BaseException): pass
class Wordless(Exception):
    def __str__(self): raise RuntimeError("no words")
class Without(dict):
    def items(self):
        n = 0
        while True:
            yield str(n), n
            n += 1
class NoNumber(float):
    def __float__(self): raise Odd("no number")
def recurse(n=0): return recurse(n + 1) + 1
def hog():
    held = []
    while True: held.append(bytearray(1 << 24))
def left():
    subprocess.Popen(["sleep", "600"], start_new_session=True)
    subprocess.run("sleep 600 & sleep 600 &", shell=True)
    if not os.fork():
        os.setsid()
        if os.fork(): os._exit(0)
        time.sleep(600)
        os._exit(0)
def flood(fd):
    for _ in range(100): os.write(fd, b"LOUD " * 200_000)
def prints(file):
    for _ in range(100): print("LOUD " * 200_000, file=file)
def cycle():
    held = []
    held.append(held)
    return held
def deep():
    held = []
    for _ in range(100_000): held = [held]
    return held
def handlers():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
def stays():
    threading.Thread(target=time.sleep, args=(600,)).start()
"""
TOOL = """
{how}def tool(x):
    if x != "hostile": return "good"
{body}
"""
PROGRAM = """
async def program(task, ep):
    if task.question != "hostile":
        said = await ep.ask("solver", [{{"role": "user", "content": task.question}}])
        return said.text
{body}
"""
SCORE = """
{how}def score(task, answer):
    if task.question != "hostile": return 0.25
{body}
"""


@dataclass(frozen=True)
class Part:
    """One file: what it does, what that comes to, and words of its line.

    `memory` bounds the process that runs it, in bytes beyond what it holds.
    """

    kind: str
    body: str
    ends: str = "failed"
    words: str = ""
    how: str = ""  # before "def"
    memory: int = 0

    @property
    def source(self) -> str:
        """The file."""
        form = {"tool": TOOL, "program": PROGRAM, "score": SCORE}[self.kind]
        body = indent(dedent(self.body).strip(), "    ")
        return HEAD + form.format(how=self.how, body=body)


LATE = "took longer than"
INLINE = "from hornbeam.workers.local_workers import inline\n@inline\n"
SLEEP = "time.sleep(600)"
SPIN = "while True: pass"
KEPT = "while True:\n    try: time.sleep(0.2)\n    except BaseException: pass"
DEAF = "while True:\n    try: await asyncio.sleep(600)\n    except BaseException: pass"
REGEX = 're.match(r"(a+)+$", "a" * 60 + "b")'
MANY = "return 'x' * 200_000_000"


def tool(body: str, words: str = "", **how: object) -> Part:
    """A tool."""
    return Part("tool", body, words=words, **how)  # type: ignore[arg-type]


def program(body: str, words: str = "", **how: object) -> Part:
    """A program."""
    return Part("program", body, words=words, **how)  # type: ignore[arg-type]


def score(body: str, words: str = "", **how: object) -> Part:
    """A scorer."""
    return Part("score", body, words=words, **how)  # type: ignore[arg-type]


SERVED = {"ends": "served"}
AWAITED = {"how": "async "}
TOOLS = {
    "hangs": tool(SLEEP, LATE),
    "hangs, async": tool("await asyncio.sleep(600)", LATE, **AWAITED),
    "blocks, async": tool(SLEEP, LATE, **AWAITED),
    "spins, async": tool(SPIN, LATE, **AWAITED),
    "blocks and swallows, async": tool(KEPT, LATE, **AWAITED),
    "swallows its cancelling": tool(DEAF, LATE, **AWAITED),
    "blocks, inline": tool(SLEEP, LATE, how=INLINE),
    "spins": tool(SPIN, LATE),
    "sys.exit": tool("sys.exit(3)", "SystemExit: 3"),
    "sys.exit, async": tool("sys.exit(3)", "SystemExit: 3", **AWAITED),
    "KeyboardInterrupt": tool("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "KeyboardInterrupt, async": tool("raise KeyboardInterrupt", "KeyboardInterrupt", **AWAITED),
    "BaseException": tool("raise Odd('no')", "Odd: no"),
    "BaseException, async": tool("raise Odd('no')", "Odd: no", **AWAITED),
    "CancelledError": tool("raise asyncio.CancelledError", "CancelledError"),
    "CancelledError, async": tool("raise asyncio.CancelledError", "CancelledError", **AWAITED),
    "GeneratorExit, async": tool("raise GeneratorExit", "GeneratorExit", **AWAITED),
    "an error without words": tool("raise Wordless", "Wordless"),
    "an error without words, async": tool("raise Wordless", "Wordless", **AWAITED),
    "an error of 100 MB": tool("raise ValueError('x' * 100_000_000)"),
    "200 MB": tool(MANY),
    "200 MB, async": tool(MANY, **AWAITED),
    "a list within itself": tool("return cycle()", "no JSON"),
    "100,000 lists deep": tool("return deep()", "no JSON"),
    "an object": tool("return object()", "no JSON"),
    "NaN": tool("return float('nan')", "no JSON"),
    "a dict without end": tool("return Without(a=1)"),
    "recursion": tool("return recurse()", "RecursionError"),
    "recursion, async": tool("return recurse()", "RecursionError", **AWAITED),
    "memory without end": tool("hog()", memory=1 << 30),
    "prints 100 MB": tool("prints(sys.stdout)\nreturn 1", **SERVED),
    "prints 100 MB of errors": tool("prints(sys.stderr)\nreturn 1", **SERVED),
    "writes 100 MB to fd 1": tool("flood(1)\nreturn 1", **SERVED),
    "closes its output": tool("sys.stdout.close()\nreturn 1", **SERVED),
    "closes fd 1": tool("os.close(1)\nreturn 1", **SERVED),
    "goes elsewhere": tool("os.chdir('/')\nreturn 1", **SERVED),
    "replaces handlers": tool("handlers()", "ValueError"),
    "a thread that stays": tool("stays()\nreturn 1", **SERVED),
    "500 threads": tool(
        "for _ in range(500): threading.Thread(target=time.sleep, args=(600,), daemon=True).start()"
        "\nreturn 1",
        **SERVED,
    ),
    "leaves processes": tool("left()\nreturn 1", **SERVED),
    "leaves processes and hangs": tool("left()\ntime.sleep(600)", LATE),
    "forks and goes on": tool("os.fork()\nreturn 1", **SERVED),
    "forks and goes on, async": tool("os.fork()\nreturn 1", how="async ", **SERVED),
}
PROGRAMS = {
    "sleeps": program(SLEEP, "mine.py:"),
    "spins": program(SPIN, "mine.py:"),
    "blocks and swallows": program(KEPT, "held the run"),
    "a regular expression without end": program(REGEX, "mine.py:"),
    "waits for nothing": program("await asyncio.Event().wait()", "neither ep.ask nor ep.call"),
    "goes round": program("while True: await asyncio.sleep(0)", "goes round"),
    "swallows its cancelling": program(DEAF, "held the run"),
    "asks without end": program(
        "while True: await ep.ask('solver', [{'role': 'user', 'content': 'x'}])", "asks"
    ),
    "asks without end and swallows": program(
        "while True:\n"
        "    try: await ep.ask('solver', [{'role': 'user', 'content': 'x'}])\n"
        "    except Exception: pass",
        "mine.py:",
    ),
    "asks 2,000 at once": program(
        "asked = [ep.ask('solver', [{'role': 'user', 'content': 'x'}]) for _ in range(2000)]\n"
        "await asyncio.gather(*asked)",
        "asks",
    ),
    "asks with 50 MB": program(
        "await ep.ask('solver', [{'role': 'user', 'content': 'x' * 50_000_000}])", "more than"
    ),
    "sys.exit": program("sys.exit(3)", "SystemExit: 3"),
    "KeyboardInterrupt": program("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "KeyboardInterrupt in a task": program(
        "async def other(): raise KeyboardInterrupt\nawait asyncio.gather(other())",
        "KeyboardInterrupt",
    ),
    "BaseException": program("raise Odd('no')", "Odd: no"),
    "CancelledError": program("raise asyncio.CancelledError", "cancelled itself"),
    "GeneratorExit": program("raise GeneratorExit", "GeneratorExit"),
    "an error without words": program("raise Wordless", "Wordless"),
    "an error of 100 MB": program("raise ValueError('x' * 100_000_000)", "ValueError: xxx"),
    "200 MB": program(MANY, "more than"),
    "a list within itself": program("return cycle()", "no JSON"),
    "an object": program("return object()", "no JSON"),
    "100,000 lists deep": program("return deep()", "no JSON"),
    "a dict without end": program("return Without(a=1)"),
    "recursion": program("return recurse()", "RecursionError"),
    "memory without end": program("hog()", "MemoryError", memory=1 << 30),
    "prints 100 MB": program("prints(sys.stdout)\nreturn 'one'", **SERVED),
    "prints 100 MB of errors": program("prints(sys.stderr)\nreturn 'one'", **SERVED),
    "closes its output": program("sys.stdout.close()\nreturn 'one'", **SERVED),
    "goes elsewhere": program("os.chdir('/')\nreturn 'one'", **SERVED),
    "replaces handlers": program("handlers()\nreturn 'one'", **SERVED),
    "a thread that stays": program("stays()\nreturn 'one'", **SERVED),
    "leaves processes": program("left()\nreturn 'one'", **SERVED),
    "forks and goes on": program("os.fork()\nreturn 'one'", **SERVED),
    "forks and raises": program(
        "if not os.fork(): raise ValueError('child')\nreturn 'one'", **SERVED
    ),
}
SCORERS = {
    "raises": score("raise ValueError('no')", "ValueError: no"),
    "hangs": score(SLEEP, "no reward in"),
    "hangs, async": score("await asyncio.sleep(600)", "no reward in", **AWAITED),
    "spins, async": score(SPIN, "no reward in", **AWAITED),
    "swallows": score(KEPT, "no reward in"),
    "blocks in C": score(REGEX, "no reward in"),
    "NaN": score("return float('nan')", "nan"),
    "infinity": score("return float('inf')", "inf"),
    "a text": score("return 'good'", "'good'"),
    "a list": score("return [1]", "list"),
    "a dict without a reward": score("return {'a': 1}", "reward"),
    "1,000 figures": score("return {'reward': 1} | {f'f{n}': n for n in range(1000)}", "figures"),
    "a number of 400 digits": score("return 10 ** 400"),
    "a number that raises": score("return NoNumber(1)"),
    "a dict without end": score("return Without(reward=1)", "no reward in"),
    "sys.exit": score("sys.exit(3)", "SystemExit: 3"),
    "os._exit": score("os._exit(0)", "died"),
    "kills itself": score("os.kill(os.getpid(), 9)", "died"),
    "KeyboardInterrupt": score("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "BaseException": score("raise Odd('no')", "Odd: no"),
    "an error without words": score("raise Wordless", "Wordless"),
    "an error of 100 MB": score("raise ValueError('x' * 100_000_000)", "ValueError: xxx"),
    "recursion": score("return recurse()", "RecursionError"),
    "a fault of memory": score("import ctypes; ctypes.string_at(0)", "died"),
    "memory without end": score("hog()", memory=1 << 30),
    "prints 100 MB": score("prints(sys.stdout)\nreturn 1", **SERVED),
    "writes 100 MB to fd 2": score("flood(2)\nreturn 1", **SERVED),
    "writes among the verdicts": score(
        "for fd in range(3, 20):\n    try: os.write(fd, b'junk\\n')\n"
        "    except OSError: pass\nreturn 1",
        "died",
    ),
    "writes a verdict of 100 MB": score(
        "for fd in range(3, 20):\n    try: flood(fd)\n    except OSError: pass\nreturn 1", "died"
    ),
    "closes all files": score("os.closerange(0, 100)\nreturn 1", "died"),
    "leaves processes": score("left()\nreturn 1", **SERVED),
    "leaves processes and hangs": score("left()\ntime.sleep(600)", "no reward in"),
    "forks and goes on": score("os.fork()\nreturn 1", **SERVED),
    "forks, and the child raises": score("if not os.fork(): raise ValueError\nreturn 1", **SERVED),
    "a thread that stays": score("stays()\nreturn 1", **SERVED),
    "an alarm of its own": score("signal.alarm(0)\nhandlers()\ntime.sleep(600)", "no reward in"),
}
PARTS: dict[str, Part] = {
    f"{part.kind}: {name}": part
    for group in (TOOLS, PROGRAMS, SCORERS)
    for name, part in group.items()
}
