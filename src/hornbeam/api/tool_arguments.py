"""From a tool that a call is given to its table in a recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from hornbeam.arguments import wrong
from hornbeam.errors import ArgumentError
from hornbeam.own.given_objects import is_given
from hornbeam.own.object_names import is_code
from hornbeam.own.own_parts import find_part
from hornbeam.tools import calculate
from hornbeam.tools.mcp_tools import McpTool
from hornbeam.workers.local_workers import is_pure


def tool_of(tool: Any, where: str, plain: Callable[[Any], Any], base: Path | None) -> Any:
    """Its table; `plain` gives what stands in a recipe. Raises `ArgumentError`."""
    if tool is calculate:
        return {"use": "calculator"}
    if isinstance(tool, str) or is_code(tool):
        use = plain(tool)
        if is_code(tool) and is_pure(tool) and not is_given(use):
            _check_pure(use, where, base)
        return {"use": use}
    if tool is None or isinstance(tool, (Mapping, BaseModel)):
        return plain(tool or {})
    if isinstance(tool, McpTool):
        table = {"NAME": {"mcp": tool.server.settings.mcp}}
        raise ArgumentError(
            f"{where} is a tool of hb.mcp, which grow_trees takes; here a server is a table, as in"
            f" a recipe: tools={table}"
        )
    raise wrong(where, "a function", tool)


def _check_pure(use: str, where: str, base: Path | None) -> None:
    """A mark made outside of the tool's file is not there when that is loaded."""
    if not is_pure(find_part("tool", use, base=base or "").thing):
        raise ArgumentError(
            f"{where} is marked pure here, and not in its file, which is loaded ({use}): write"
            " @hb.pure above it there"
        )
