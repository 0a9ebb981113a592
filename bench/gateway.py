"""What the gateway costs: a request through it beside the same ask of a program in the process.

    python bench/gateway.py [--parts overhead latency held memory] [--repeats 7] [--json FILE]

overhead: 64 sessions in flight, 32 turns each, every request with the whole conversation. The
engine answers when all 64 have asked, at once and in no time, so that a turn is what 64 requests
cost: one way by clients of another process (gateway_load.py), one way by a program that asks the
same. Both in turns, in one run; the difference is what the gateway costs, by the number of turns.
latency: the same with an engine that takes 50 ms and clients that wait between: what a client waits
more than the engine takes.
held: 1,000 sessions, each with a request that waits; then all are answered.
memory: 10,000 sessions of 4 turns, 100 at a time; the memory of the process by their number.

A token is a byte: what a chat template costs, a program pays as well. Milliseconds are of the wall
and of this process's processor, which hang less on what else the machine does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gateway_load import heard, tool
from hornbeam.chat import ByteChat, Chat, user
from hornbeam.engine.request import Barrier, Completion, Request
from hornbeam.episode.program import Limits
from hornbeam.gateway.relay import Relay
from hornbeam.gateway.server import Gateway
from hornbeam.gateway.session import AgentSession, Ended
from hornbeam.grow.effects import Speaker
from hornbeam.grow.grower import Grower
from hornbeam.search import Independent
from hornbeam.store.database import TreeKey
from hornbeam.tree.nodes import Tree, floats
from hornbeam.tree.task import Task

Json = dict[str, Any]
LOAD = str(Path(__file__).with_name("gateway_load.py"))
SAID = '<tool_call>\n{"name": "tool_0", "arguments": {"one": "a text"}}\n</tool_call>'
SESSIONS, TURNS = 64, 32


class Together:
    """An engine that answers when `number` requests wait, all at once; keeps when that was."""

    def __init__(self, chat: Chat, number: int, seconds: float = 0.0) -> None:
        self.chat, self.number, self.seconds = chat, number, seconds
        self.version, self.barrier = 0, Barrier()
        self.times: list[tuple[float, float]] = []  # wall, of this process's processor
        self._tokens = chat.encode(SAID)
        self._waiting: list[asyncio.Future[None]] = []
        self.most = 0

    async def generate(self, request: Request) -> Completion:
        """The same answer to all."""
        if self.seconds:
            await asyncio.sleep(self.seconds)
        elif self.number > 1:
            waiting = asyncio.get_running_loop().create_future()
            self._waiting.append(waiting)
            self.most = max(self.most, len(self._waiting))
            if len(self._waiting) == self.number:
                self.times.append((time.perf_counter(), time.process_time()))
                for one in self._waiting:
                    one.set_result(None)
                self._waiting = []
            await waiting
        return Completion(
            tokens=self._tokens[:],
            logprobs=floats([-1.0] * len(self._tokens)),
            text=SAID,
            finish="stop",
            version=0,
            computed=len(request.prompt),
        )

    def cached(self, prompt: Any) -> int:
        """Nothing."""
        return 0

    async def aclose(self) -> None:
        """Nothing is open."""


class Clients:
    """Sessions whose agents are in another process."""

    def __init__(self) -> None:
        self.gateway = Gateway()
        self.sessions: list[AgentSession] = []
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """The server, and the process of the clients."""
        await self.gateway.start()
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, LOAD),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=2**26,
        )

    async def program(self, task: Task, ep: Any) -> Any:
        """An episode that a session is."""
        session = AgentSession(ep.effects.names())
        relay = Relay(ep, session, 5.0)
        self.gateway.add(session)
        self.sessions.append(session)
        try:
            return (await relay.run()).answer
        finally:
            self.gateway.remove(session)

    async def ask(self, number: int, turns: int, tools: int, pause: float) -> list[list[float]]:
        """Let so many sessions ask; the seconds of each request."""
        while len(self.sessions) < number:
            await asyncio.sleep(0.005)
        sessions, self.sessions = self.sessions, []
        process = self.process
        assert process is not None and process.stdin is not None and process.stdout is not None
        order = {"port": int(self.gateway.address.rpartition(":")[2]), "turns": turns}
        order |= {"tokens": [s.token for s in sessions], "tools": tools, "seconds": pause}
        process.stdin.write(json.dumps(order).encode() + b"\n")
        told: list[list[float]] = json.loads(await process.stdout.readline())
        for session in sessions:
            session.end(Ended("done"))
        return told

    async def aclose(self) -> None:
        """End both."""
        assert self.process is not None and self.process.stdin is not None
        self.process.stdin.close()
        await self.process.wait()
        await self.gateway.aclose()


def trees(program: Any, engine: Together, number: int) -> Any:
    """Grows so many trees of one episode each."""
    limits = Limits(turns=10_000, tokens=10_000_000)
    grower = Grower(program, {"solver": Speaker(engine)}, Independent(n=1), limits=limits)
    starts = [
        (TreeKey("train", 0, n), Tree(Task(f"t{n}", str(n)).to_json(), seed=n))
        for n in range(number)
    ]
    return grower.grow_all(starts, at_once=number)


def native(turns: int, tools: Sequence[Json]) -> Any:
    """The program that asks what the clients ask."""

    async def program(task: Task, ep: Any) -> str:
        session = int(task.question)
        messages = [user(heard(session, 0))]
        for turn in range(turns):
            reply = await ep.ask("solver", messages, tools=tools)
            messages.append(reply.message)
            for call in reply.calls:
                result = {"role": "tool", "tool_call_id": call.id}
                messages.append({**result, "content": heard(session, turn + 1)})
        return "done"

    return program


async def through(
    clients: Clients, engine: Together, turns: int, tools: int, pause: float = 0
) -> Any:
    """Grow the trees of sessions; the seconds that clients saw."""
    number = engine.number
    growing = asyncio.create_task(trees(clients.program, engine, number))
    seconds = await clients.ask(number, turns, tools, pause)
    await growing
    return seconds


def by_turn(engine: Together, kind: int) -> list[float]:
    """Milliseconds of one request, by turn: of the wall (0) or of this process's processor (1)."""
    return [
        (after[kind] - before[kind]) * 1000 / engine.number
        for before, after in zip(engine.times, engine.times[1:])
    ]


def spread(values: Sequence[float]) -> Json:
    """Least, median and most."""
    found = {"min": min(values), "median": statistics.median(values), "max": max(values)}
    return {name: round(value, 3) for name, value in found.items()}


async def overhead(chat: Chat, repeats: int, tools: int) -> Json:
    """Milliseconds a request, both ways, in turns."""
    clients = Clients()
    await clients.start()
    engines: dict[str, list[Together]] = {"gateway": [], "program": []}
    for _ in range(repeats):
        engines["gateway"].append(Together(chat, SESSIONS))
        await through(clients, engines["gateway"][-1], TURNS, tools)
        engines["program"].append(Together(chat, SESSIONS))
        asked = native(TURNS, [tool(n) for n in range(tools)])
        await trees(asked, engines["program"][-1], SESSIONS)
    await clients.aclose()
    out: Json = {"sessions": SESSIONS, "turns": TURNS, "tools": tools}
    for kind, name in enumerate(("wall", "processor")):
        rows = {way: [by_turn(e, kind) for e in found] for way, found in engines.items()}
        means = {way: [statistics.mean(row) for row in found] for way, found in rows.items()}
        more = [a - b for a, b in zip(means["gateway"], means["program"])]
        turns = [
            statistics.median(a[k] - b[k] for a, b in zip(rows["gateway"], rows["program"]))
            for k in range(TURNS - 1)
        ]
        out[f"{name}_ms"] = {
            **{way: spread(values) for way, values in means.items()},
            "overhead": spread(more),
            "overhead_by_turn": {str(k + 2): round(turns[k], 3) for k in (0, 2, 6, 14, 30)},
        }
    return out


async def latency(chat: Chat, repeats: int, tools: int) -> Json:
    """What clients wait beyond the engine's own time."""
    clients = Clients()
    await clients.start()
    medians = []
    for _ in range(repeats):
        engine = Together(chat, SESSIONS, 0.05)
        told = await through(clients, engine, 16, tools, 0.15)
        medians.append(statistics.median(s - 0.05 for row in told for s in row) * 1000)
    await clients.aclose()
    return {"engine_ms": 50, "sessions": SESSIONS, "beyond_ms": spread(medians)}


async def held(chat: Chat, number: int = 1000) -> Json:
    """So many sessions at once, each with a request that waits; all are answered."""
    clients = Clients()
    await clients.start()
    engine = Together(chat, number)
    began = time.perf_counter()
    told = await through(clients, engine, 2, 1)
    seconds = time.perf_counter() - began
    await clients.aclose()
    answered = sum(map(len, told))
    return {"sessions": number, "waiting_at_once": engine.most, "answered": answered} | {
        "seconds": seconds
    }


async def memory(chat: Chat, number: int = 10_000, at_once: int = 100) -> Json:
    """Megabytes of the process by the number of sessions that it has had."""
    clients = Clients()
    await clients.start()
    out = {}
    for done in range(at_once, number + 1, at_once):
        await through(clients, Together(chat, at_once), 4, 1)
        if done in (at_once, 1000) or not done % 2500:
            out[str(done)] = resident()
    await clients.aclose()
    return {"sessions": number, "turns": 4, "megabytes": out}


def resident() -> float:
    """Megabytes that this process holds."""
    text = Path("/proc/self/statm").read_text()
    return int(text.split()[1]) * resource.getpagesize() / 2**20


def main() -> None:
    """The parts, a line each."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parts = ("overhead", "latency", "held", "memory")
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--tools", type=int, default=4)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    chat = ByteChat()
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    made: dict[str, Callable[[], Any]] = {
        "overhead": lambda: overhead(chat, given.repeats, given.tools),
        "latency": lambda: latency(chat, given.repeats, given.tools),
        "held": lambda: held(chat),
        "memory": lambda: memory(chat),
    }
    # Parts of an earlier run in the same file stay: each says how busy the machine was.
    out: Json = json.loads(given.json.read_text()) if given.json and given.json.exists() else {}
    out |= {"command": "bench/gateway.py", "machine": machine}
    for part in given.parts:
        before = os.getloadavg()[0]
        out[part] = asyncio.run(made[part]())
        out[part]["load_average"] = [round(before, 1), round(os.getloadavg()[0], 1)]
        print(part, json.dumps(out[part], indent=1), flush=True)
    if given.json:
        given.json.write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
