"""A teacher's runs of the tasks that no run of the reference solved, and what they teach."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from hornbeam.assembly.tree_growth import StoreGrower
from hornbeam.engine.engine_checks import check_trainable
from hornbeam.errors import EngineError
from hornbeam.jobs.anchor.injected_runs import TeacherReplay, TeacherTree
from hornbeam.jobs.anchor.reference_runs import Reference, independent_runs
from hornbeam.protocols import Engine
from hornbeam.recipe.sections import AnchorSection
from hornbeam.tree.task import Task


class TeacherRuns:
    """The runs of a teacher that speaks by `engine`, in the store of the anchors."""

    def __init__(self, store_grower: StoreGrower, how: AnchorSection, engine: Engine) -> None:
        self.store_grower, self.how, self.engine = store_grower, how, engine

    async def teach(
        self, model: Any, mark: str, teacher: str, tasks: Sequence[Task]
    ) -> list[TeacherTree]:
        """The teacher's runs of tasks, one after the other until one solves; what is learned.

        `mark` and `teacher` are the marks of reference and teacher. `model` scores what the teacher
        said, where the engine's own log-probs cannot be taken.
        """
        solved, engine, store_grower = self.how.solved, self.engine, self.store_grower
        runs = partial(independent_runs, store_grower.world, store_grower.store)
        other = Reference(store_grower, teacher, solved, partial(runs, engine=engine))
        left = list(tasks)
        for attempt in range(1, self.how.attempts + 1):
            left = [task for task in left if not other.record(task).accuracy(solved)]
            if left:
                await engine.load(engine.version)  # no prefix is kept from before
                await other.run(f"the teacher's run {attempt}", left, attempt)
        replay = TeacherReplay(store_grower, model, partial(runs, 1), self._exact())
        return [
            await replay.teach(
                f"{mark}/{teacher}", task, other.stage, other.record(task), engine.chat, solved
            )
            for task in tasks
        ]

    def _exact(self) -> bool:
        """Whether the engine tells ids and log-probs that can be learned from."""
        try:
            for agent in self.store_grower.recipe.agents.values():
                check_trainable(self.engine, agent.sampling())
        except EngineError as error:
            self.store_grower.progress.say(f"The teacher's words are scored by the policy: {error}")
            return False
        return True
