"""A recorded run as the trunk of a tree of its own, from which its forks grow."""

from __future__ import annotations

from typing import Any

from hornbeam.blame import run_of
from hornbeam.chat.rendered import foreign, has_ids
from hornbeam.errors import ProgramError
from hornbeam.grow.grower import Grower
from hornbeam.jobs.blame.failed_runs import RecordedRun
from hornbeam.jobs.label.rerun_trees import rerun, runs_of
from hornbeam.store.database import Store, TreeKey
from hornbeam.tree.nodes import Tree


def path_of(run: RecordedRun) -> Tree:
    """The run as a tree of its own that has grown to its end, with the columns of its steps."""
    path = run_of(run.tree, run.leaf)
    path.nodes[-1] = path.nodes[-1].changed(done=True)
    return path


def identity_of(run: RecordedRun) -> list[Any]:
    """What tells a run from others, in whichever ids it was recorded."""
    return [run.tree.task, run.place, run.leaf, runs_of(path_of(run))]


async def begin(run: RecordedRun, key: TreeKey, grower: Grower, store: Store) -> None:
    """Keep the run under a key: as it is or, where its ids are not the engine's, said again.

    Raises `ProgramError` where the program does not repeat it then.
    """
    path = path_of(run)
    chats = [speaker.engine.chat for speaker in grower.agents.values()]
    if has_ids(path) and not any(foreign(path, chat) for chat in chats):
        store.begin(key, path)
        store.flush()
        return
    start = Tree(run.tree.task, seed=run.tree.seed)
    _, odd = await rerun([path], [(key, start)], grower, 1)
    if odd:
        store.forget(*key)
        raise ProgramError(f"the recipe's program does not repeat the recorded run: {odd[0]}")
