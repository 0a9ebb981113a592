"""Hostile tools, programs, scorers and servers: what each comes to, and how many pass a bound.

    python bench/hostile.py [--only tool,program,score,server] [--name TEXT] [--json FILE]

A part fails where its process does not end in time or with another code than 0, where standard
output is not the result alone, where an honest task beside it fails, where it is not what it must
be ("failed" with one line, or "served"), where what it prints has no bound, or where a process of
it is left behind. A server: see tests/engine/test_hostile_servers.py. Linux alone.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from hornbeam.chat import ByteChat, user
from hornbeam.engine.remote.completions import HttpEngine
from hornbeam.engine.remote.completions_probe import Abilities
from hornbeam.engine.remote.http_client import HttpSettings
from hornbeam.engine.request import Request, Sampling
from hornbeam.errors import EngineError
from hostile_parts import PARTS, Part
from hostile_servers import CASES, KEY, HostileServer, ServerCase

CHAT = ByteChat()
MEMORY = 150 << 20  # bytes more, for an answer

SECONDS = 60.0  # for a process with one hostile task, whose limits are two seconds each
PRINTED = 4 << 20  # bytes on standard error
MARK = "HOSTILE_MARK"


@dataclass
class Outcome:
    """What came of one part: its faults, and its line."""

    faults: list[str]
    line: str = ""
    seconds: float = 0.0


def marked(mark: str) -> list[int]:
    """The processes that began with a mark in their environment."""
    wanted, found = f"{MARK}={mark}".encode(), []
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if name.isdigit() and wanted in Path(f"/proc/{name}/environ").read_bytes():
                state = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[0]
                found += [int(name)] if state != "Z" else []
    return found


def run(name: str) -> Outcome:
    """Run a part in a process of its own and look at what it did."""
    part, mark = PARTS[name], uuid4().hex
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "mine.py").write_text(part.source, "utf-8")
        out, err = Path(folder) / "out", Path(folder) / "err"
        command = [sys.executable, str(Path(__file__).with_name("hostile_run.py")), name, folder]
        began = time.monotonic()
        with out.open("wb") as one, err.open("wb") as two:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=one,
                stderr=two,
                cwd=folder,
                env={**os.environ, MARK: mark},
            )
            try:
                code: int | None = process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                code = None
        seconds = time.monotonic() - began
        if code is not None:
            time.sleep(0.2)  # what was killed has to go
        left = [number for number in marked(mark) if number != process.pid]
        for number in (*left, *([] if code is not None else [process.pid])):
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        process.wait()
        found = judged(part, code, out, err, len(left) if code is not None else 0)
        found.seconds = round(seconds, 1)
        return found


def judged(part: Part, code: int | None, out: Path, err: Path, left: int) -> Outcome:
    """What is wrong."""
    faults = []
    if code is None:
        faults.append("does not end")
    elif code:
        faults.append(f"ends with {code}")
    if left:
        faults.append(f"{left} processes left")
    if err.stat().st_size > PRINTED:
        faults.append(f"{err.stat().st_size >> 20} MB on stderr")
    if code:
        last = err.read_bytes()[-400:].decode("utf-8", "replace").strip().split("\n")[-1]
        return Outcome(faults, last[:200])
    if code is None:
        return Outcome(faults)
    try:
        found: dict[str, Any] = json.loads(out.read_bytes()[: 1 << 20])
    except ValueError:
        return Outcome([*faults, "standard output is not the result alone"])
    if not (found["place"] and found["signals"]):
        faults.append("the process is not as it was")
    wanted = {"tool": "good", "program": "one", "score": "0.25"}[part.kind]
    for question in ("honest", "frank"):
        if found["tasks"][question]["answer"] != wanted:
            faults.append(f"task {question!r} got {str(found['tasks'][question])[:80]}")
    bad = found["tasks"]["hostile"]
    line = bad["error"]
    if part.ends == "failed" and not line:
        faults.append(f"is taken: {bad['answer'][:60]}")
    if part.ends == "served" and line:
        faults.append("fails")
    if len(line) > 600 or "\n" in line or part.words not in line:
        faults.append("no line of it")
    return Outcome(faults, line[:200])


def peak() -> int:
    """The most memory this process held since it was set back, in bytes."""
    line = next(x for x in Path("/proc/self/status").read_text().split("\n") if "VmHWM" in x)
    return int(line.split()[1]) << 10


def ask_server(case: ServerCase) -> Outcome:
    """Ask a bad server, with a time-out and a patience of a second, once."""
    os.environ["FIRST_KEY"] = KEY
    known = Abilities("tiny", gives_ids=True, scale="raw", stops=True, tokenizer="ids")
    how = {"timeout": 1.0, "patience": 1.0, "deadline": 30.0, "key_env": "FIRST_KEY"}
    prompt = CHAT.render([user("hello")])
    with HostileServer(case) as server:
        Path("/proc/self/clear_refs").write_text("5")
        held, began = peak(), time.monotonic()

        async def ask() -> tuple[Any, HttpEngine]:
            engine = HttpEngine(HttpSettings(url=server.url, **how), CHAT)
            engine.abilities = known
            try:
                async with asyncio.timeout(20):
                    return await engine.generate(
                        Request(prompt, Sampling(max_tokens=24), 1)
                    ), engine
            except Exception as error:
                return error, engine
            finally:
                await engine.aclose()

        found, engine = asyncio.run(ask())
        seconds, memory = time.monotonic() - began, peak() - held
    usage, faults, line = engine.account, [], str(found).split("\n")[0][:200]
    if seconds > 10:
        faults.append(f"{seconds:.0f} s")
    if memory > MEMORY:
        faults.append(f"{memory >> 20} MB")
    if server.strayed:
        faults.append("asked another host")
    if usage.requests != len(server.heard):
        faults.append("counted wrongly")
    if isinstance(found, Exception):
        if case.answered or not isinstance(found, EngineError):
            faults.append(f"ends with {type(found).__name__}")
        if not line.startswith(server.url) or case.words not in line:
            faults.append("no line of it")
    else:
        if not case.answered:
            faults.append("is taken")
        if bool(found.logprobs) != case.scored:
            faults.append("its log-probs are " + ("lost" if case.scored else "taken"))
        if usage.sampled_tokens > 24 or usage.prompt_tokens > 100:
            faults.append(f"{usage.sampled_tokens:,} tokens entered")
    return Outcome(faults, line, round(seconds, 1))


def show(name: str, found: Outcome) -> None:
    """A line of the table."""
    wrong = "; ".join(found.faults) or "ok"
    print(f"{name:42} {found.seconds:5.1f} s  {wrong:45} {found.line}", flush=True)


def main() -> None:
    """Print a table of faults, and of how many there are."""
    read = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    read.add_argument("--only", default="tool,program,score,server")
    read.add_argument("--name", default="")
    read.add_argument("--json", type=Path)
    asked = read.parse_args()
    kinds = asked.only.split(",")
    rows: dict[str, Outcome] = {}
    for name, part in PARTS.items():
        if part.kind in kinds and asked.name in name:
            rows[name] = found = run(name)
            show(name, found)
    if "server" in kinds:
        for name, case in CASES.items():
            if asked.name in name:
                rows[f"server: {name}"] = found = ask_server(case)
                told = "; ".join(found.faults) or "ok"
                print(
                    f"server: {name:34} {found.seconds:5.1f} s  {told:45} {found.line}", flush=True
                )
    counts = Counter(name.partition(":")[0] for name in rows)
    bad = Counter(name.partition(":")[0] for name, found in rows.items() if found.faults)
    for kind, count in counts.items():
        print(f"{kind}: {count} hostile, {bad[kind]} with faults")
    if asked.json:
        table = {n: {"faults": f.faults, "line": f.line} for n, f in rows.items()}
        told = {k: {"cases": counts[k], "faults": bad[k]} for k in counts}
        asked.json.write_text(
            json.dumps({"counts": told, "cases": table}, indent=1) + "\n", "utf-8"
        )


if __name__ == "__main__":
    main()
