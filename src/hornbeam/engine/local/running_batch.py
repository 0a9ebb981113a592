"""What runs in the local engine: a job for each request, in groups that share slots."""

from __future__ import annotations

import asyncio
from array import array
from dataclasses import dataclass, field
from typing import Any

from hornbeam.engine.local.slots import Slots
from hornbeam.engine.request import Completion, Request
from hornbeam.tree.nodes import floats, ids


@dataclass(slots=True, eq=False)
class SamplingJob:
    """A request on its way."""

    request: Request
    future: asyncio.Future[Completion]
    arrival: int
    limit: int  # tokens that it may sample
    draws: list[float]
    tokens: array[int] = field(default_factory=ids)
    logprobs: array[float] = field(default_factory=floats)
    finish: str = ""
    sound: bool = True  # the logits were finite
    computed: int = 0

    @property
    def place(self) -> tuple[Any, ...]:
        """Decides who is admitted first where arrival must not."""
        return (self.request.order, self.arrival)


@dataclass(slots=True, eq=False)
class SlotGroup:
    """Running jobs of like length: job i has row i of the slots."""

    slots: Slots
    jobs: list[SamplingJob] = field(default_factory=list)

    def leave(self, row: int, wipe: bool = False) -> None:
        """Drop a row and its job; the last ones take their place."""
        self.slots.leave(row, wipe)
        last = self.jobs.pop()
        if row < len(self.jobs):
            self.jobs[row] = last
