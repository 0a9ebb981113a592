"""Which task comes when, and by what seed its tree grows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from random import Random

from hornbeam.store.keys import TreeKey
from hornbeam.tree.task import Task


def task_at(tasks: Sequence[Task], seed: int, place: int) -> Task:
    """The task at a place of the endless order in which every epoch is shuffled anew."""
    epoch, at = divmod(place, len(tasks))
    order = list(range(len(tasks)))
    Random(f"{seed}:epoch:{epoch}").shuffle(order)
    return tasks[order[at]]


def tree_seed(seed: int, key: TreeKey) -> int:
    """The seed of a tree: 63 bits of a digest of the run's seed and the tree's key."""
    digest = hashlib.blake2b(f"{seed}/{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
