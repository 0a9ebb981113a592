"""What is told of failed episodes; and a job stops whose first ones all failed.

What those grew is forgotten, to be grown again once the program is mended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hornbeam.episode.failures import causes, failed, one_cause
from hornbeam.errors import ProgramError
from hornbeam.store.database import Store, TreeKey
from hornbeam.tree.nodes import Tree

AGAIN = "nothing of it is kept: fix that and run the same command again"
NAMES = {"measure": "the measure of the tasks", "anchor": "the anchors' estimate"}  # of stages


def check_grown(store: Store, keys: Sequence[TreeKey], trees: Sequence[Tree], begun: bool) -> None:
    """Of trees that training grew: those of a step are looked at, others until it has `begun`."""
    if keys[0].stage == "train":
        check_scored(store, keys, trees)
    elif not begun:
        check_first(store, keys, trees)


def check_first(
    store: Store, keys: Sequence[TreeKey], trees: Sequence[Tree], what: str = ""
) -> None:
    """Raise `ProgramError` where all episodes failed for one cause; their trees are forgotten.

    `what` they are is said first.
    """
    if failure := all_failed(trees):
        forget(store, keys)
        what = what or NAMES.get(keys[0].stage, "the first evaluation")
        raise ProgramError(f"{what}: {failure}; {AGAIN}")


def all_failed(trees: Sequence[Tree]) -> str:
    """That all episodes failed, and of what one cause; "" where not."""
    error, count = one_cause(trees), len(failed(trees))
    whole = f"all {count} episodes" if count > 1 else "the one episode"
    return f"{whole} failed: {error}" if error else ""


def check_scored(store: Store, keys: Sequence[TreeKey], trees: Sequence[Tree]) -> None:
    """The same for a step that nothing can be learned from: no episode of it has a reward."""
    check_first(store, keys, trees, f"step {keys[0].step + 1}")
    if not any(value is not None for tree in trees for value in tree.columns.get("reward", ())):
        forget(store, keys)
        raise unscored(trees)


def unscored(trees: Sequence[Tree]) -> ProgramError:
    """What is told of a step without a reward."""
    ends = sum(len(tree.leaves()) for tree in trees)
    first = next(iter(failed(trees)), "the checker gave no verdict")
    return ProgramError(f"no run of a whole step was scored ({ends} runs); the first: {first}")


def why(trees: Sequence[Tree]) -> dict[str, str]:
    """The cause of failures, for people; no key where nothing failed."""
    failure = causes(failed(trees))
    return {"failure": failure} if failure else {}


def failed_of(row: Mapping[str, Any]) -> str:
    """Failures of an evaluation in words, "3 of 40 failed: ZeroDivisionError at mine.py:12"."""
    return f"{row['failed']} of {row['count']} failed: {row['failure']}" if row["failed"] else ""


def forget(store: Store, keys: Sequence[TreeKey]) -> None:
    """Drop trees; what they cost was paid."""
    for key in keys:
        store.forget(*key)
