"""A reward that was worked out while the episode ran: the result of its last call of a tool."""

from __future__ import annotations

from typing import Any

from hornbeam.errors import ArgumentError
from hornbeam.score.checker_pool import NoVerdict
from hornbeam.score.verdict import Judgement, read_verdict
from hornbeam.tree.nodes import Tree

# The call whose result a rule reads.
RECORDED = {"verifiers": "verifiers_score", "test": "agent_test"}


def recorded_reward(rule: str, tree: Tree, leaf: int) -> Judgement:
    """Reward and figures of {"reward": ..., "figures": {...}}. Raises `NoVerdict` where none is."""
    found: Any = None
    for i in tree.path(leaf):
        for call in tree.nodes[i].calls:
            if call.tool == RECORDED[rule]:
                found = call.result
    try:
        if found["reward"] is None and found.get("why"):
            raise NoVerdict("errors")
        return read_verdict({"reward": found["reward"], **found["figures"]})
    except (ArgumentError, KeyError, TypeError) as error:
        raise NoVerdict("errors") from error
