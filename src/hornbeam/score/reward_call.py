"""Calls a reward function, in the checker's process (`check_process`).

{"task": ..., "answer": ...} gives {"reward": 1.0, "figures": {}}, {"reward": null, "figures": {}}
or {"error": "ValueError: no such thing (mine.py:12)"}.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hornbeam.episode.failures import failure
from hornbeam.own.given_objects import GIVEN
from hornbeam.own.own_code import load_module
from hornbeam.own.own_functions import call_settings
from hornbeam.own.own_parts import Named
from hornbeam.score.reward_class import ScoringObject
from hornbeam.score.reward_function import WANTS, line_of
from hornbeam.score.verdict import read_verdict
from hornbeam.tree.jsonl import from_json
from hornbeam.tree.task import Task
from hornbeam.workers.outcomes import LONGEST, words_of


def reward_call(place: str, name: str, settings: str) -> Callable[[Mapping[str, Any]], Any]:
    """What answers requests by that function with these settings, JSON.

    `place` is its file, or the module of a package. Raises `ProgramError` for a file that cannot be
    loaded.
    """
    of_file = Path(place).is_absolute() or Path(place).name == GIVEN
    module = load_module(Path(place)) if of_file else importlib.import_module(place)
    found, runner = getattr(module, name), asyncio.Runner()
    a_class = inspect.isclass(found)
    how = call_settings(Named(found, name), json.loads(settings), () if a_class else WANTS)
    where = f"{Path(inspect.getfile(found)).name}:{line_of(found)}"
    if a_class:
        found, how = ScoringObject(found, how), {}

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
            value = found(**given, **how)
            if inspect.iscoroutine(value):
                value = runner.run(value)
        except BaseException as error:  # whatever a user's function raises
            return {"error": failure(error)}
        try:
            verdict = read_verdict(value)
            return {"reward": verdict.reward, "figures": verdict.figures}
        except BaseException as error:  # of __float__ too
            return {"error": f"{words_of(error)[:LONGEST]} ({where})"}

    return call
