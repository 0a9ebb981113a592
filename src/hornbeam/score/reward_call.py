"""Calls a reward function, in the checker's process (`check_process`).

{"task": ..., "answer": ...} gives {"reward": 1.0}, {"reward": null} or {"error": "ValueError: no
such thing (mine.py:12)"}.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hornbeam.arguments import finite
from hornbeam.episode.failures import failure
from hornbeam.own.own_code import load_module
from hornbeam.tree.jsonl import from_json
from hornbeam.tree.task import Task


def reward_call(path: str, name: str) -> Callable[[Mapping[str, Any]], Any]:
    """What answers requests by that function. Raises `ProgramError` where it cannot be loaded."""
    found, runner = getattr(load_module(Path(path)), name), asyncio.Runner()
    code = inspect.unwrap(found).__code__

    def call(request: Mapping[str, Any]) -> Any:
        given = dict(request["given"])
        try:
            if "task" in given:
                given["task"] = Task.from_json(given["task"])
            if "tree" in given:
                given["tree"] = from_json(given["tree"])
            if "calls" in given:
                tree, leaf = from_json(given["calls"]), request["leaf"]
                given["calls"] = [call for i in tree.path(leaf) for call in tree.nodes[i].calls]
            value = found(**given)
            if inspect.iscoroutine(value):
                value = runner.run(value)
        except (Exception, SystemExit) as error:  # whatever a user's function raises
            return {"error": failure(error)}
        try:
            return {"reward": finite(value)}
        except Exception as error:  # of __float__ too
            return {"error": f"{error} ({Path(code.co_filename).name}:{code.co_firstlineno})"}

    return call
