"""Stops a job whose first episodes all failed: what they grew is forgotten, to be grown again."""

from __future__ import annotations

from collections.abc import Sequence

from hornbeam.errors import ProgramError
from hornbeam.failures import failed, one_cause
from hornbeam.store import Store, TreeKey
from hornbeam.tree import Tree

AGAIN = "nothing of it is kept: mend that and run the same command again"
NAMES = {"measure": "the measure of the tasks", "anchor": "the anchors' estimate"}  # of stages


def check_first(
    store: Store, keys: Sequence[TreeKey], trees: Sequence[Tree], what: str = ""
) -> None:
    """Raise `ProgramError` where all episodes failed for one cause; their trees are forgotten."""
    error = one_cause(trees)
    if error:
        forget(store, keys)
        what = what or NAMES.get(keys[0].stage, "the first evaluation")
        raise ProgramError(f"{all_failed(trees, what)}; {AGAIN}")


def all_failed(trees: Sequence[Tree], what: str) -> str:
    """That all episodes failed, and of what."""
    errors = failed(trees)
    count = f"all {len(errors)} episodes" if len(errors) > 1 else "the one episode"
    return f"{count} of {what} failed: {errors[0]}"


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


def forget(store: Store, keys: Sequence[TreeKey]) -> None:
    """Drop trees; what they cost was paid."""
    for key in keys:
        store.forget(*key)
