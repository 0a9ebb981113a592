"""The clients of bench/gateway.py: one process that asks for many sessions at once, cheaply.

It reads a line of JSON, {"port": N, "tokens": [...], "turns": N, "tools": N, "seconds": S}, makes
one connection for each session, asks `turns` times, each time with the whole conversation (calls of
tools and their results), waits `seconds` between, and writes a line: the seconds of each request,
by session. Requests and answers are written and read as bytes: what is measured is the gateway.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

WORDS = "the state of the world as the agent's own tool has told it in some words of its own "


def tool(number: int) -> dict[str, Any]:
    """A tool as frameworks describe it."""
    fields = {name: {"type": "string", "description": WORDS[:40]} for name in ("one", "two")}
    parameters = {"type": "object", "properties": fields, "required": ["one"]}
    held = {"name": f"tool_{number}", "description": WORDS, "parameters": parameters}
    return {"type": "function", "function": held}


def heard(session: int, turn: int) -> str:
    """What session `session` says at a turn, or its tool: another text each time."""
    return f"{session}.{turn}: {WORDS * 3}"


async def one(order: dict[str, Any], session: int, token: str) -> list[float]:
    """All requests of a session; the seconds of each."""
    reader, writer = await asyncio.open_connection("127.0.0.1", order["port"])
    head = (
        f"POST /s/{token}/v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n"
        f"authorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: "
    )
    tools = [tool(number) for number in range(order["tools"])]
    end = json.dumps({"tools": tools})[1:]
    said, seconds = [json.dumps({"role": "user", "content": heard(session, 0)})], []
    for turn in range(order["turns"]):
        body = f'{{"model": "solver", "messages": [{", ".join(said)}], {end}'.encode()
        began = time.perf_counter()
        writer.write(f"{head}{len(body)}\r\n\r\n".encode() + body)
        told = await reader.readuntil(b"\r\n\r\n")
        length = int(told.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        answer = await reader.readexactly(length)
        seconds.append(time.perf_counter() - began)
        if not told.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"{told.decode()}{answer.decode()}")
        message = json.loads(answer)["choices"][0]["message"]
        said.append(json.dumps(message))
        for call in message.get("tool_calls") or ():
            result = {"role": "tool", "tool_call_id": call["id"]}
            said.append(json.dumps({**result, "content": heard(session, turn + 1)}))
        if order["seconds"]:
            await asyncio.sleep(order["seconds"])
    writer.close()
    return seconds


async def all_of(order: dict[str, Any]) -> list[list[float]]:
    """All sessions of an order, at once."""
    return list(await asyncio.gather(*(one(order, n, t) for n, t in enumerate(order["tokens"]))))


def main() -> None:
    """Orders until the input ends."""
    for line in sys.stdin:
        print(json.dumps(asyncio.run(all_of(json.loads(line)))), flush=True)


if __name__ == "__main__":
    main()
