"""Which delegation a request is of, where an agent outside asks several agents by name.

A request of another agent than the main one that holds no earlier answer begins a delegation to it,
as `ep.delegate` does: a scope of its own. Those that go on from the same beginning (what was said
before the first answer, whatever the instructions) are of that delegation; where a conversation is
handed over with its answers, it stays what it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from hornbeam.chat import Message
from hornbeam.episode.program import Episode
from hornbeam.episode.record import digest


class Delegations:
    """The scopes of one session."""

    def __init__(self, ep: Episode, main: str) -> None:
        self._ep, self._main = ep, main
        self._begun: dict[str, str] = {}  # digest of a beginning -> its scope
        self._latest: dict[str, str] = {}  # agent -> scope

    def scope(self, agent: str, messages: Sequence[Message], recorded: str | None = None) -> str:
        """The scope of a request that is asked now; `recorded` where the record has it."""
        before = list(takewhile(lambda m: m["role"] != "assistant", messages))
        key = digest([message for message in before if message["role"] != "system"])
        begins = len(before) == len(messages)
        known = self._ep.scope
        if agent != self._main:
            known = "" if begins else self._begun.get(key, self._latest.get(agent, ""))
            if not known and (begins or key not in self._begun):
                known = self._ep.opened(agent)
        scope = known if recorded is None else recorded
        self._latest[agent] = scope
        if begins or key not in self._begun:
            self._begun[key] = scope
        return scope
