"""Which task comes when, and by what seed its tree grows."""

from __future__ import annotations

import hashlib
from collections import Counter
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
    return _bits(f"{seed}/{key}")


def question_seed(seed: int, question: str, again: int = 0) -> int:
    """The seed of a search: of the run's seed and what is asked, the `again`-th time in a run.

    So it is the same search wherever the question stands, and whoever asks it.
    """
    return _bits(f"{seed}/search/{again}/{question}")


def question_seeds(seed: int, tasks: Sequence[Task]) -> list[int]:
    """The seed of each task's search."""
    before: Counter[str] = Counter()
    seeds = []
    for task in tasks:
        seeds.append(question_seed(seed, task.question, before[task.question]))
        before[task.question] += 1
    return seeds


def _bits(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
