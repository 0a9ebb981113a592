"""What all parts of a training run stand on: policies, growers, judges, metrics and the ledger."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from hornbeam.assembly.loading import Load
from hornbeam.assembly.plan import Plan
from hornbeam.assembly.policies import Policies
from hornbeam.assembly.progress import Progress
from hornbeam.assembly.run_folder import Folder
from hornbeam.assembly.step_costs import PAID, spent
from hornbeam.assembly.teachers import check_teachers
from hornbeam.assembly.world import World
from hornbeam.grow.grower import Grower
from hornbeam.jobs.train.fitted_heads import TrainedStates
from hornbeam.jobs.train.growth_pool import Pool, pool_of
from hornbeam.jobs.train.metrics_log import Listener, MetricsLog
from hornbeam.jobs.train.run_guides import RunGuides
from hornbeam.jobs.train.run_sinks import RunSinks
from hornbeam.recipe.recipe import Recipe
from hornbeam.store.ledger import Entry, Ledger, Sink, warning_of_state

MakeMetrics = Callable[[Folder, Listener], MetricsLog]


@dataclass(frozen=True, slots=True)
class RunContext:
    """`grower` grows for training and is paid from the budget, `greedy` for evaluation.

    Both grow in `pool`.
    """

    recipe: Recipe
    plan: Plan
    folder: Folder
    progress: Progress
    world: World
    guides: RunGuides  # that credit and growth read
    metrics: MetricsLog
    ledger: Ledger
    grower: Grower
    greedy: Grower
    pool: Pool

    @property
    def policies(self) -> Policies:
        """The policies that learn."""
        return self.world.policies

    @property
    def states(self) -> TrainedStates:
        """What checkpoints keep."""
        return TrainedStates(self.policies, self.guides.heads)

    @classmethod
    def open(
        cls,
        plan: Plan,
        folder: Folder,
        progress: Progress,
        load: Load,
        metrics: MakeMetrics,
        held: ExitStack,
    ) -> RunContext:
        """Load policies and make what stands on them; what must be closed is put on `held`."""
        recipe = folder.recipe
        pool = pool_of(recipe, plan.base, folder.path / "model", progress.say, load)
        held.callback(pool.close)
        check_teachers(recipe, pool.policies)
        world = World.build(recipe, plan, pool.policies, progress.warn)
        guides = RunGuides.of(recipe, plan, pool.policies, folder.path / "model", progress.say)
        folder.hold_code(plan.base, guides.columns)
        sinks = RunSinks(folder, plan.base, progress.warn)
        held.callback(sinks.close)
        sinks.start(folder)
        sink = warning_of_state(folder.store.enter, plan.tools, progress.warn)
        ledger = Ledger(recipe.budget, spent(folder.store, PAID), sink=sink)
        grower = replace(
            world.grower(ledger, folder.store), guides=guides.reading, grown=sinks.grown
        )
        greedy = world.grower(_beside(ledger, sink), folder.store, greedy=True)
        greedy = replace(greedy, grown=sinks.grown)
        return cls(
            recipe,
            plan,
            folder,
            progress,
            world,
            guides,
            metrics(folder, sinks.listener),
            ledger,
            pool.growing(grower),
            pool.growing(greedy),
            pool,
        )


def _beside(ledger: Ledger, sink: Sink) -> Ledger:
    """A ledger of what the run's budget does not pay; the run's own goes on telling wall time."""

    def enter(entries: Sequence[Entry]) -> None:
        sink(entries)
        ledger.enter(())

    return Ledger(sink=enter, timed=False)
