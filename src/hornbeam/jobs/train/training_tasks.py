"""Which tasks a recipe trains on, and what a fresh tree knows of its task."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from hornbeam.assembly.loading import model_folders
from hornbeam.assembly.recipe_files import trains_on_anchors
from hornbeam.jobs.train.anchored_tasks import Anchored
from hornbeam.jobs.train.curriculum import Curriculum, ShuffledTasks
from hornbeam.jobs.train.growth import as_it_is
from hornbeam.jobs.train.parts import StartTree, TaskSource
from hornbeam.jobs.train.run_context import RunContext
from hornbeam.store.ledger import Entry


class Source(NamedTuple):
    """The tasks, the start of their trees, and what is said once before training.

    `alone`: nothing else may be sampled beside a step's trees, as tasks are measured by runs first,
    after which engines load, or as bits must not hang on it.
    """

    tasks: TaskSource
    start: StartTree = as_it_is
    announce: Callable[[], None] = lambda: None
    alone: bool = False


def source_of(context: RunContext) -> Source:
    """By anchors, by stages, or all training tasks. Raises `StoreError` without its anchors."""
    recipe, tasks = context.recipe, context.plan.train.tasks
    if trains_on_anchors(recipe):
        made = context.folder.path / "model"
        (base, *_) = model_folders(recipe, made, context.progress.say).values()
        anchors = Anchored(recipe, context.plan, base, context.folder.store)
        return Source(anchors, anchors.start, lambda: announce(anchors, context), True)
    if recipe.stages:
        add = context.metrics.add
        curriculum = Curriculum(recipe.run, recipe.stages, tasks, context.folder.store, add)
        return Source(curriculum, alone=True)
    return Source(ShuffledTasks(recipe.run, tasks), alone=recipe.run.resume == "exact")


def announce(anchors: Anchored, context: RunContext) -> None:
    """Count once what the anchors cost that this run builds on, and say what they are."""
    if context.metrics.has("anchor"):
        return
    row = {"kind": "anchor", "tasks": len(anchors.kept), **anchors.row}
    context.ledger.enter([Entry("", -1, -1, "anchor_tokens", row["anchor_tokens"])])
    context.metrics.add(row)
    context.progress.say(
        f"Anchors: {row['tasks']} tasks are kept ({row['mixed']} mixed, {row['taught']} by the"
        f" teacher), {row['solved']} solved ones dropped; {row['anchor_tokens']:,.0f} tokens"
    )
