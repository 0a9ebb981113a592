"""Rewards that a program gives while it runs: recorded at its steps, held against the record.

One belongs to the last ask told before it, as a call does (before the first ask to node 0). Nothing
is waited for: a replay gives it again, between the same two effects, and it is not entered twice.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hornbeam.arguments import described, finite
from hornbeam.errors import ArgumentError, Divergence, ProgramError
from hornbeam.tree.facts import StepReward
from hornbeam.tree.nodes import Node

_NAME = re.compile(r"[\w-]{0,60}", re.ASCII)


def step_reward(value: Any, name: Any, scope: str) -> StepReward:
    """What `ep.reward` was given. Raises `ProgramError` for no finite number, or no name."""
    try:
        number = finite(value)
    except ArgumentError:
        number = None
    if number is None:
        raise ProgramError(f"ep.reward takes a finite number, not {described(value)}")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        wants = "a name of letters, digits, '_' and '-'"
        raise ProgramError(f"ep.reward takes {wants}, not {described(name)}")
    return StepReward(number, name, scope)


class RewardRecord:
    """The rewards of one run along a path, `told` being how many effects were told by then.

    `is_open` says that the last node of the path still waits for calls, and so for rewards.
    """

    def __init__(self, path: Sequence[Node], is_open: bool, most: int) -> None:
        self._held: deque[tuple[int, StepReward]] = deque()
        self._most, self._given, self._wrong = most, 0, ""
        told, goes_on = 0, False
        for at, node in enumerate(path):
            told += at > 0 and not goes_on
            self._held.extend((told + reward.calls, reward) for reward in node.rewards)
            told, goes_on = told + len(node.calls), node.finish == "chunk"
        self._closed = told - goes_on + (not is_open)  # from here on rewards are new

    def enter(self, draft: Node | None, told: int, given: StepReward) -> Node | None:
        """The draft with a new reward; as it is where the record has it already."""
        self._given += 1
        if self._given > self._most:
            raise ProgramError(f"more than {self._most} rewards in one episode (limits.rewards)")
        if self._held and self._held[0][0] <= told:
            was = self._held.popleft()[1]
            if replace(was, calls=0) != given:
                self._differs(told, f"{_shown(given)}, the record has {_shown(was)}")
            return draft
        if told < self._closed or draft is None:
            self._differs(told, f"{_shown(given)}, the record has none")
            return draft
        return draft.changed(rewards=(*draft.rewards, replace(given, calls=len(draft.calls))))

    def agrees(self, told: int) -> bool:
        """Whether what was given by now is what the record has."""
        return not self._wrong and not (self._held and self._held[0][0] <= told)

    def check(self, told: int) -> None:
        """Raise `Divergence` where what was given by now is not what the record has."""
        if self.agrees(told):
            return
        if not self._wrong:
            self._differs(told, f"no reward, the record has {_shown(self._held[0][1])}")
        raise Divergence(self._wrong)

    def _differs(self, told: int, how: str) -> None:
        self._wrong = self._wrong or (
            f"the program did not reproduce its own path: after {told} effects it gives {how};"
            " let all that is not deterministic go through ep"
        )


def _shown(reward: StepReward) -> str:
    named = f" {reward.name!r}" if reward.name else ""
    return f"reward{named} {reward.value:g} in scope {reward.scope!r}"
