r"""The checker's process: `check.py RULE`, run as a script, reads requests and writes verdicts.

One JSON object a line each way: {"rule": "symbolic", "readings": ["\\frac12"], "accepted": ["0.5"],
"seconds": 5} or {"rule": "reasoning_gym", "answer": ..., "task": {...}}; back comes a number, or
null where the checker failed.

It is meant to be killed when it takes too long, and an alarm of its own ends it should nobody be
left to do so. The only import of math-verify; it has no time-out of its own here, since that one
works by signals in the main thread and does not break into long integer powers. It imports nothing
of ours, so that a process starts in a second.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import math
import os
import signal
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

MAX_MEMORY = 4 << 30  # bytes of address space: 9^9^9^9 may not take the machine down with it


def symbolic(readings: list[str], accepted: list[str]) -> float:
    """1 where a reading of the answer equals an accepted one: as number, expression or set."""
    from math_verify import parse, verify

    read = [parse(text, parsing_timeout=None) for text in dict.fromkeys(readings)]
    for each in accepted:
        text = each if "\\boxed" in each else f"\\boxed{{{each.strip().strip('$')}}}"
        gold = parse(text, parsing_timeout=None)
        if any(verify(gold, said, timeout_seconds=None) for said in read):
            return 1.0
    return 0.0


def reasoning_gym(answer: str, task: Mapping[str, Any]) -> float:
    """What reasoning-gym says of the answer, in [0, 1] (`tasks.gym`, read from its file)."""
    return float(_gym().score(answer, task))


@cache
def _gym() -> Any:
    path = Path(__file__).parents[1] / "tasks" / "gym.py"
    spec = importlib.util.spec_from_file_location("gym", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check(request: Mapping[str, Any]) -> float:
    """The verdict on one request."""
    if request["rule"] == "symbolic":
        return symbolic(request["readings"], request["accepted"])
    return reasoning_gym(request["answer"], request["task"])


def main() -> None:
    """Answer requests until the input ends."""
    logging.disable(logging.CRITICAL)
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not stand among the verdicts
    _bound_memory()
    if sys.argv[1] == "symbolic":  # load now what the first check would wait for
        symbolic(["1"], ["2"])
    else:
        _gym().ready()
    print("ready", file=out, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if hasattr(signal, "alarm"):
            signal.alarm(math.ceil(request["seconds"]) + 1)
        try:
            verdict: float | None = check(request)
        except Exception:  # whatever a third party's parser raises over a strange answer
            verdict = None
        print(json.dumps(verdict), file=out, flush=True)
        if hasattr(signal, "alarm"):
            signal.alarm(0)


def _bound_memory() -> None:
    try:
        import resource
    except ImportError:  # not on Windows
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = MAX_MEMORY if hard == resource.RLIM_INFINITY else min(MAX_MEMORY, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))


if __name__ == "__main__":
    main()
