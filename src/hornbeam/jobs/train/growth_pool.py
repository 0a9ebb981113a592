"""Where the trees of a run grow: in this process, or in actors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hornbeam.assembly.loading import Load, Say
from hornbeam.grow.grower import Grower
from hornbeam.jobs.train.actors.actor_pool import ActorPool
from hornbeam.jobs.train.row_meter import RowMeter
from hornbeam.jobs.train.tree_room import TreeRoom
from hornbeam.recipe.recipe import Recipe


class OneProcess:
    """Trees that grow in this process: no actors, the plain growers, whose rows are counted."""

    def __init__(self, recipe: Recipe, folder: Path, say: Say, load: Load) -> None:
        self.policies = load(recipe, folder, say, None)
        self.rows, self.room = RowMeter(), TreeRoom(recipe.run.at_once, recipe.run.tasks)
        self._exact = recipe.run.resume == "exact"  # then nothing may hang on time

    def growing(self, grower: Grower) -> Grower:
        """The grower, with a count of its requests, in the one room of all trees."""
        room = None if self._exact else self.room.tree
        return replace(grower, agents=self.rows.metered(grower.agents), room=room)

    def begin(self, step: int) -> None:
        """The trees of a step are due, and what is measured begins."""
        self.room.begin(step)
        self.rows.begin()

    def figures(self) -> dict[str, float]:
        """Since a step began, for its row of metrics."""
        return {"seconds_rows_empty": round(self.rows.empty(), 3)}

    def close(self) -> None:
        """Nothing is held."""


Pool = ActorPool | OneProcess


def pool_of(recipe: Recipe, base: Path, folder: Path, say: Say, load: Load) -> Pool:
    """Where the trees of a recipe grow; `folder` is for tiny models."""
    if recipe.workers.kind == "local":
        return OneProcess(recipe, folder, say, load)
    return ActorPool(recipe, base, folder, say, load)
