"""The place of one trainer among several that share a store: its lease, its end of the queue."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from hornbeam.assembly.loading import Say
from hornbeam.engine.remote.queued_engine import QueueWorker
from hornbeam.errors import StoreError
from hornbeam.files.links import check_links
from hornbeam.recipe.recipe import Recipe, differences, filled
from hornbeam.store.leases import Lease, leases, surely_dead
from hornbeam.store.request_queue import RequestQueue
from hornbeam.store.shared_database import SharedStore

SAME = ("steps", "eval_every", "eval_start", "resume")  # what processes of one run agree on


class Membership:
    """Takes the lease of a policy in the store of the run at `path`, and holds it until `leave`.

    Raises `StoreError` where another process holds the lease, or others train by another recipe.
    """

    def __init__(self, recipe: Recipe, path: Path, policy: str, say: Say) -> None:
        self.policy = policy
        check_links(path)  # the database may lie elsewhere
        self.store = SharedStore(recipe.run.store or path, say)
        self.queue = RequestQueue(self.store, policy)
        self.worker = QueueWorker(self.queue, partial(steps_needed, recipe.run.behind))
        self.lease = Lease(self.store, policy, recipe.run.lease, say)
        try:
            self.lease.take()
            _agree(self.store, recipe, policy)
        except BaseException:
            self.leave()
            raise

    def leave(self) -> None:
        """Close the store, and release the lease."""
        try:
            self.store.close()
        finally:
            self.lease.release()

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Requests and answers are carried for the length of a block; their errors end it."""
        try:
            async with asyncio.TaskGroup() as group:
                worker = group.create_task(self.worker.work())
                yield
                worker.cancel()
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None


def steps_learned(stage: str, step: int) -> int:
    """From how many steps policies have learned when the trees of a stage grow; -1 at the start."""
    return -1 if stage == "start" else step


def steps_needed(behind: int, stage: str, step: int) -> int:
    """From how many steps a policy must have learned to speak in trees of a step."""
    return step - behind if stage == "train" else steps_learned(stage, step)


def _agree(store: SharedStore, recipe: Recipe, policy: str) -> None:
    """`StoreError` where others train by another recipe."""
    rows = [row for row in leases(store) if row.owner and row.policy != policy]
    others = [row for row in rows if not surely_dead(row)]
    before, now = store.kept_recipe(), recipe.model_dump(mode="json")
    if not others or not before:
        return
    changed = differences(filled(before), now)
    changed += [f"run.{key}" for key in SAME if before.get("run", {}).get(key) != now["run"][key]]
    if changed:
        raise StoreError(
            f"policy {others[0].policy!r} is trained by {others[0].owner} with another recipe"
            f" ({', '.join(changed[:3])} differ): set them alike"
        )
