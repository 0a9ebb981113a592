"""A server of our own, written with the SDK: over stdio, or with a port over streamable HTTP."""

import os
import sys
import time
from pathlib import Path

from mcp.server.mcpserver import Image, MCPServer
from mcp_types import ToolAnnotations

server = MCPServer("shelf")
shelf: dict[str, str] = {}


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def add(a: int, b: int) -> int:
    """Add two whole numbers."""
    return a + b


@server.tool()
def put(key: str, value: str) -> list[str]:
    """Put a value on the shelf."""
    shelf[key] = value
    count(f"put {key!r}")
    return sorted(shelf)


@server.tool()
def pid() -> int:
    """The process that serves."""
    return os.getpid()


@server.tool()
def die() -> str:
    """End the process in the middle of a call."""
    print("the shelf\nbroke down", file=sys.stderr, flush=True)
    os._exit(3)


@server.tool()
def wait(path: str) -> str:
    """Answer once there is a file."""
    while not Path(path).exists():
        time.sleep(0.01)
    return "there"


@server.tool()
def fail(why: str) -> str:
    """Fail for a reason."""
    raise LookupError(why)


@server.tool()
def picture() -> Image:
    """A picture."""
    return Image(data=b"\x89PNG", format="png")


def count(line: str) -> None:
    """A line into the file that the environment names."""
    if name := os.environ.get("SHELF_LOG"):
        with open(name, "a") as file:
            file.write(f"{line}\n")


if __name__ == "__main__":
    count("start")
    print("the shelf is up", file=sys.stderr)
    if len(sys.argv) > 1:
        server.run("streamable-http", port=int(sys.argv[1]))
    else:
        server.run()
