"""What stands with a node beside its tokens: tool calls, and rewards that its step was given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hornbeam.arguments import finite, short, wrong
from hornbeam.errors import ArgumentError


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call that followed a node: what was asked of which tool, and what came back."""

    tool: str
    arguments: Mapping[str, Any]
    result: Any = None
    error: str = ""
    scope: str = ""
    reward: float | None = None  # that the tool gave with its result

    def __repr__(self) -> str:
        came = f"failed: {short(self.error)}" if self.error else short(self.result)
        return f"<Call {self.tool}({short(dict(self.arguments))}): {came}>"


@dataclass(frozen=True, slots=True)
class StepReward:
    """A reward that a program gave after a node, when so many of the node's `calls` were told."""

    value: float
    name: str = ""
    scope: str = ""
    calls: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """What a tool returns that rewards the step which called it; its caller sees the `value`."""

    value: Any
    reward: float

    def __post_init__(self) -> None:
        try:
            reward = finite(self.reward)
        except ArgumentError:
            reward = None
        if reward is None:
            raise wrong("Result: reward", "a finite number", self.reward)
        object.__setattr__(self, "reward", reward)
