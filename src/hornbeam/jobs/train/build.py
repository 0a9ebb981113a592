"""From a recipe to the parts of its training run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from functools import partial

from hornbeam.assembly.loading import Load, bf16_is_slow, load_policies
from hornbeam.assembly.plan import Plan
from hornbeam.assembly.progress import Progress
from hornbeam.assembly.run_folder import Folder
from hornbeam.jobs.train.ahead import Ahead, warn_of_age
from hornbeam.jobs.train.checkpointer import Checkpointer
from hornbeam.jobs.train.evaluator import Evaluator
from hornbeam.jobs.train.growth import MakeGrowth, StepGrower, StoredGrowth
from hornbeam.jobs.train.learner import learner_of
from hornbeam.jobs.train.metrics_log import MetricsLog
from hornbeam.jobs.train.parts import Learner, Parts, RolloutSource, TaskSource, TreeGrowth
from hornbeam.jobs.train.recorder import StepRecorder
from hornbeam.jobs.train.run_context import MakeMetrics, RunContext
from hornbeam.jobs.train.supervised import SupervisedStart
from hornbeam.jobs.train.training_tasks import Source, source_of

SLOW_BF16 = "this processor has no bfloat16: set optim.bf16 = false, it is far faster"


def build(
    plan: Plan,
    folder: Folder,
    progress: Progress,
    load: Load = load_policies,
    growth: MakeGrowth = StoredGrowth,
    metrics: MakeMetrics = MetricsLog,
    ahead: bool = True,
) -> Parts:
    """The parts of a training run in a folder, whose store is closed with them, or on an error.

    `load` makes the policies, `growth` what grows trees by their keys, `metrics` what keeps rows.
    With `ahead` trees of coming steps grow while policies train, where the recipe asks for that,
    and an evaluation goes on beside the growth of the next step.
    """
    recipe = folder.recipe
    with ExitStack() as held:
        held.callback(folder.store.close)
        folder.hold_tasks("training", plan.train.tasks)
        folder.hold_tasks("held-out", plan.eval.tasks)
        folder.hold_code(plan.base)
        rows = folder.hold_set(plan.shown, progress.say) if plan.shown else None
        context = RunContext.open(plan, folder, progress, load, metrics, held)
        source = source_of(context)
        if bf16_is_slow(recipe):
            progress.warn(SLOW_BF16)
        shared = ahead and not source.alone
        trees = growth(context, source.start, shared)
        beside = ahead and recipe.run.behind > 0
        rollouts = _rollouts(context, trees, source.tasks, beside)
        parts = Parts(
            run=recipe.run,
            name="training",
            folder=folder,
            final=folder.path / "final",
            policies=context.policies,
            warm_start=SupervisedStart(context, rows),
            rollouts=rollouts,
            learner=_learner(context, beside),
            recorder=StepRecorder(context, source.tasks, rollouts),
            evaluator=Evaluator(context, trees, shared),
            checkpoints=Checkpointer(folder.path / "checkpoints", recipe.run, context.states),
            metrics=context.metrics,
            progress=progress,
            session=partial(_session, context, source),
            closing=AsyncExitStack(),
        )
        parts.closing.callback(held.pop_all().close)  # last
    parts.closing.push_async_callback(context.world.aclose)
    parts.closing.push_async_callback(context.guides.aclose)
    parts.closing.push_async_callback(rollouts.aclose)
    parts.closing.callback(progress.end)
    return parts


def _learner(context: RunContext, ahead: bool) -> Learner:
    """Credit and the update of weights, and of the value heads behind it."""

    def silent() -> str:
        return context.world.scorer.silent

    warn, policies = context.progress.warn, context.policies
    learner = learner_of(context.recipe, context.plan, policies, warn, ahead, silent)
    return context.guides.fitting(learner, policies, context.folder.store)


def _rollouts(
    context: RunContext, trees: TreeGrowth, tasks: TaskSource, ahead: bool
) -> RolloutSource:
    """The trees of steps, grown when they are asked for or ahead."""
    run, grower = context.recipe.run, StepGrower(context, trees, tasks)
    if not ahead:
        return grower
    warn_of_age(context.policies, run.behind, context.progress.warn)
    return Ahead(grower.trees, run.steps, run.behind)


@asynccontextmanager
async def _session(context: RunContext, source: Source) -> AsyncIterator[None]:
    """See that judges are there, and say what the tasks stand on, before anything is grown."""
    await context.guides.open()
    source.announce()
    yield
