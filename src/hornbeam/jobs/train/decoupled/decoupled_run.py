"""Training one policy of several in a process of its own, beside those that train the others.

The loop is that of every run. What differs are some of its parts, given in place of the plain ones:
the store is shared, agents of other policies answer over the request queue, and the trees of a step
are grown by whoever claims them. A step is trained when all of its trees are grown; every process
credits them by itself and learns from its own nodes.

`resume = "exact"` asks for an engine whose answers hang on nothing but the request: which requests
share a batch is decided by arrival here, and that shows in the last bits.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from hornbeam.assembly.loading import Say, model_folders
from hornbeam.assembly.plan import Plan
from hornbeam.assembly.policies import MakeEngine
from hornbeam.assembly.progress import Progress
from hornbeam.assembly.run_folder import Folder
from hornbeam.jobs.train.build import build
from hornbeam.jobs.train.decoupled.decoupled_policies import DecoupledPolicies
from hornbeam.jobs.train.decoupled.membership import Membership
from hornbeam.jobs.train.decoupled.shared_growth import SharedGrowth
from hornbeam.jobs.train.decoupled.shared_metrics import AgedLearner, SharedMetrics
from hornbeam.jobs.train.metrics_log import Listener
from hornbeam.jobs.train.parts import Parts, StartTree
from hornbeam.jobs.train.run_context import RunContext
from hornbeam.recipe.recipe import Recipe
from hornbeam.train.ranks import Ranks


def build_decoupled(
    recipe: Recipe,
    plan: Plan,
    path: Path,
    progress: Progress,
    policy: str,
    ranks: Ranks | None = None,
) -> Parts:
    """The parts of the run of one policy. Raises as `Membership` and `build` do."""
    with ExitStack() as held:
        member = Membership(recipe, path, policy, progress.say)
        held.callback(member.leave)
        (path / policy).mkdir(parents=True, exist_ok=True)
        folder = Folder(path / policy, recipe, member.store, policy)
        makers = _Makers(member, ranks)
        parts = build(
            plan, folder, progress, makers.load, makers.growth, makers.metrics, ahead=False
        )
        _warn_of_age(recipe, policy, progress.warn)
        closing = AsyncExitStack()
        closing.callback(held.pop_all().close)
    closing.push_async_exit(parts.closing)
    return replace(
        parts,
        name=f"training {policy}",
        final=path / "final",
        learner=AgedLearner(parts.learner, member.queue, makers.policies),
        session=partial(_session, parts, member),
        closing=closing,
    )


class _Makers:
    """What `build` takes in place of what makes the plain parts."""

    def __init__(self, member: Membership, ranks: Ranks | None) -> None:
        self.member, self.ranks = member, ranks

    def load(
        self, recipe: Recipe, folder: Path, say: Say, make_engine: MakeEngine | None
    ) -> DecoupledPolicies:
        """The own policy, and the others by name; made before growth and metrics are."""
        own, folders = self.member.policy, model_folders(recipe, folder, say)
        if self.ranks is not None:
            self.ranks.share({own: folders[own]})
        self.policies = DecoupledPolicies(recipe, folders, own, self.member.worker, self.ranks)
        return self.policies

    def growth(self, context: RunContext, start: StartTree, shared: bool) -> SharedGrowth:
        """Growth by claims; fresh trees know nothing of their tasks."""
        return SharedGrowth(context, self.policies, self.member)

    def metrics(self, folder: Folder, listen: Listener) -> SharedMetrics:
        """Rows that are joined."""
        return SharedMetrics(folder, listen, self.member.queue, self.policies)


@asynccontextmanager
async def _session(parts: Parts, member: Membership) -> AsyncIterator[None]:
    """Carry requests and answers while training goes on, and see the others' last rows."""
    async with parts.session(), member.at_work():
        yield
        await parts.metrics.complete()
    parts.folder.rewrite_metrics()


def _warn_of_age(recipe: Recipe, policy: str, warn: Callable[[str], None]) -> None:
    """Say so where nothing weighs that other weights spoke than those that learn."""
    if recipe.run.behind and recipe.of(policy).loss.weights is None:
        warn(
            f"run.behind = {recipe.run.behind}: older weights may have sampled, and no loss"
            ' weighs that: set loss.old = "trainer" and loss.truncate or importance'
        )
