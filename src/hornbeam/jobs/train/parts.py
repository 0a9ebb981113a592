"""What the training loop is given: one page of small parts, each of which can be another.

`build` makes them for a recipe, `build_decoupled` for one of several trainers that share a store.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hornbeam.grow.grower import Grower
from hornbeam.recipe.recipe import RunSettings
from hornbeam.store.database import TreeKey
from hornbeam.tree.nodes import Tree
from hornbeam.tree.task import Task

if TYPE_CHECKING:
    from hornbeam.assembly.policies import Policies
    from hornbeam.assembly.progress import Progress
    from hornbeam.assembly.run_folder import Folder
    from hornbeam.jobs.train.checkpointer import Checkpointer
    from hornbeam.jobs.train.evaluator import Evaluator
    from hornbeam.jobs.train.metrics_log import MetricsLog
    from hornbeam.jobs.train.recorder import StepRecorder

# Independent runs of the present policy: a tree a task under its key, so many leaves each.
Runs = Callable[[list[TreeKey], list[Task], int], Awaitable[list[Tree]]]
StartTree = Callable[[TreeKey, Tree], Tree]  # a fresh tree with what is known of its task


class TaskSource(Protocol):
    """Which tasks a step is grown on: in shuffled epochs, by a curriculum, by anchors."""

    async def tasks(self, step: int, runs: Runs) -> list[Task]:
        """The tasks of a step, a tree each; `runs` measures tasks, at the run's expense."""
        ...

    def learned(self, step: int, trees: Sequence[Tree]) -> None:
        """The policies have learned from a step's trees, which are scored."""
        ...


class TreeGrowth(Protocol):
    """Trees by their keys, each grown once, in this process or by several that share a store."""

    async def grow(
        self, grower: Grower, keys: Sequence[TreeKey], tasks: Sequence[Task]
    ) -> list[Tree]:
        """The grown and scored trees of these keys, all of one stage and step, in their order."""
        ...


class RolloutSource(Protocol):
    """The trees of training steps: grown when they are asked for, or ahead of training."""

    async def trees(self, step: int) -> list[Tree]:
        """The grown and scored trees of a step, all steps before it being trained."""
        ...

    def idle(self, grown: float, trained: float) -> tuple[float, float]:
        """(seconds without growth, seconds that the trainer waited) of a step.

        `grown` are the seconds until its trees were there, `trained` those of learning from them.
        """
        ...

    async def aclose(self) -> None:
        """Stop what still grows; what was grown is in the store."""
        ...


class Learner(Protocol):
    """Credit and the update of weights."""

    async def learn(self, trees: Sequence[Tree], step: int) -> dict[str, Any]:
        """Credit the trees and step on them; figures of the update, for a row of metrics.

        Raises `ProgramError` where no leaf is scored.
        """
        ...


class WarmStarter(Protocol):
    """The supervised stage before the first step."""

    def prepare(self) -> bool:
        """Make its examples, which costs nothing yet; whether there are any to fit."""
        ...

    def fit(self) -> None:
        """Fit the policies to the examples."""
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """All that one training run is made of."""

    run: RunSettings
    name: str  # of the training, on its bar
    folder: Folder
    final: Path  # folder of the last weights
    policies: Policies
    warm_start: WarmStarter
    rollouts: RolloutSource
    learner: Learner
    recorder: StepRecorder
    evaluator: Evaluator
    checkpoints: Checkpointer
    metrics: MetricsLog
    progress: Progress
    session: Callable[[], AbstractAsyncContextManager[None]]  # around all training
    closing: AsyncExitStack  # gives back what is held
