"""What sinks are told of a run, and of the calls that were made while its trees grew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a sink is told of its run.

    `id` stays the run's own over resumes, and all processes of a run have the same one. `recipe` is
    the resolved one as JSON data; names and passwords in URLs are left out. `policy` is the one
    that this process trains, where several do. `told` counts the rows that the sink was told before
    the run was stopped.
    """

    id: str
    title: str
    folder: Path  # of the run
    recipe: Mapping[str, Any]
    policy: str = ""
    told: int = 0


@dataclass(frozen=True, slots=True)
class TimedCall:
    """One call of a model or a tool while a tree grew, with its times in ns since the epoch.

    `said` is a model's answer or a tool's result, `given` a tool's arguments. `read` and `sampled`
    count tokens. `error` is why it failed.
    """

    kind: Literal["chat", "tool"]
    name: str  # of the agent or the tool
    episode: int
    turn: int
    begin: int
    end: int
    scope: str = ""  # of the delegation
    read: int = 0
    sampled: int = 0
    finish: str = ""
    given: Mapping[str, Any] = field(default_factory=dict)
    said: Any = None
    error: str = ""
