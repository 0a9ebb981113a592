"""What is kept of a policy's runs of one task, and the marks that tell tasks and policies apart."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hornbeam.credit.baselines import reaches
from hornbeam.store.database import Store
from hornbeam.store.ledger import TOKENS
from hornbeam.tree.nodes import Tree
from hornbeam.tree.task import SCORING, Task


@dataclass(frozen=True, slots=True)
class Record:
    """Rewards of a reference's runs of one task, in order (`None`: failed); what they cost."""

    number: int  # of the tree that holds the runs
    rewards: tuple[float | None, ...] = ()
    costs: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, store: Store, name: str) -> Record | None:
        """The record that a store keeps under a name, if it does. Raises `StoreError`."""
        found = store.get(name)
        with store.reading(f"value of {name!r}"):
            if found is None:
                return None
            rewards = [None if reward is None else float(reward) for reward in found["rewards"]]
            costs = {str(kind): float(amount) for kind, amount in found["costs"].items()}
            return cls(int(found["number"]), (*rewards,), costs)

    @property
    def mean(self) -> float:
        """V_sta: the mean reward of the runs that have one; 0 where none has."""
        known = [reward for reward in self.rewards if reward is not None]
        return math.fsum(known) / len(known) if known else 0.0

    @property
    def tokens(self) -> float:
        """What the runs cost: sampled tokens, and prompt tokens that were computed."""
        return sum(self.costs.get(kind, 0) for kind in TOKENS)

    def accuracy(self, solved: float) -> float:
        """The share of runs with a reward of `solved` or more; a failed run solves nothing."""
        good = sum(reward is not None and reaches(reward, solved) for reward in self.rewards)
        return good / len(self.rewards) if self.rewards else 0.0

    def kind(self, solved: float) -> str:
        """What the runs make of the task: "solved" (all do), "mixed", or "unsolved" (none)."""
        share = self.accuracy(solved)
        return "solved" if share == 1 else "mixed" if share else "unsolved"


def mark_of(what: Any) -> str:
    """Sixteen letters that tell things apart, equal on every machine."""
    text = json.dumps(what, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def mark_of_task(task: Task) -> str:
    """What tells a task from others: all that stands in it but how it is scored."""
    data = task.to_json()
    data["data"] = {key: value for key, value in task.data.items() if key != SCORING}
    return mark_of(data)


def rewards_of(tree: Tree) -> tuple[float | None, ...]:
    """The reward of every run of a tree, in order; `None` where it failed."""
    reward = tree.columns.get("reward", [None] * len(tree))
    ends = {tree.nodes[leaf].origin.episode: reward[leaf] for leaf in tree.leaves()}
    return tuple(ends[episode] for episode in sorted(ends))
