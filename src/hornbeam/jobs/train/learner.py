"""Credit and the update of weights: what a training step makes of its trees."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hornbeam.assembly.failed_episodes import unscored
from hornbeam.assembly.plan import Plan
from hornbeam.assembly.policies import Policies
from hornbeam.credit import Method, credit
from hornbeam.jobs.train.ahead import drop_stale, staleness
from hornbeam.jobs.train.parts import Learner
from hornbeam.jobs.train.tree_metrics import GapWarning
from hornbeam.recipe.recipe import Recipe
from hornbeam.score import reward_parts, scope_rewards
from hornbeam.score.delegation import Expert
from hornbeam.score.delegation_expert import expert_of
from hornbeam.score.rules import RewardSettings
from hornbeam.tree.nodes import Tree

Warn = Callable[[str], None]
Prepare = Callable[[Sequence[Tree]], Mapping[str, float]]


def nothing(trees: Sequence[Tree]) -> Mapping[str, float]:
    """Trees of the policy that learns from them need no preparation."""
    return {}


class CreditLearner:
    """Credits trees and steps every policy on them.

    `prepare` may take the reward from leaves first, and says what it found as metrics. `silent`
    says why a scorer gave no reward, `base` is the recipe's folder.
    """

    def __init__(
        self,
        policies: Policies,
        rewards: RewardSettings,
        method: Method,
        warn: Warn,
        prepare: Prepare = nothing,
        silent: Callable[[], str] = str,
        base: Path = Path(),
    ) -> None:
        self.policies, self.rewards, self.method = policies, rewards, method
        self._gap, self._prepare, self._silent = GapWarning(warn), prepare, silent
        self._expert = expert_of(rewards, base, warn)

    async def learn(self, trees: Sequence[Tree], step: int) -> dict[str, Any]:
        """Credit the trees and step on those that have a scored leaf; figures of the update."""
        return self.step(trees, step)

    def step(self, trees: Sequence[Tree], step: int) -> dict[str, Any]:
        """As `learn`, without a loop of events."""
        prepared = self._prepare(trees)
        scored = [tree for tree in trees if any(v is not None for v in tree.columns["reward"])]
        if not scored:
            raise unscored(trees, self._silent())
        credit_step(scored, self.rewards, self.method, self._expert)
        update = {**self.policies.step(scored, step), **prepared}
        if self._expert is not None:
            update["no_verdict.delegation"], self._expert.none = self._expert.none, 0
        self._gap.look(update, step)
        return update


class ThreadedLearner:
    """A learner in a thread of its own, while other trees grow in this one."""

    def __init__(self, learner: CreditLearner) -> None:
        self.learner = learner

    async def learn(self, trees: Sequence[Tree], step: int) -> dict[str, Any]:
        """As `CreditLearner.learn`."""
        return await asyncio.to_thread(self.learner.step, trees, step)


def learner_of(
    recipe: Recipe,
    plan: Plan,
    policies: Policies,
    warn: Warn,
    ahead: bool,
    silent: Callable[[], str] = str,
) -> Learner:
    """The learner of a recipe, in a thread of its own where trees grow `ahead` beside it.

    Where older weights may have spoken, branches that are too old are dropped first.
    """
    behind = recipe.run.behind

    def drop_old(trees: Sequence[Tree]) -> Mapping[str, float]:
        return {"stale": drop_stale(trees, policies, behind), "age": staleness(trees, policies)}

    prepare = drop_old if behind else nothing
    learner = CreditLearner(policies, recipe.reward, plan.credit, warn, prepare, silent, plan.base)
    return ThreadedLearner(learner) if ahead else learner


def credit_step(
    trees: Sequence[Tree], rewards: RewardSettings, how: Method, expert: Expert | None = None
) -> None:
    """Make out of outcomes the rewards that credit reads, and credit the trees of a step."""
    for tree in trees:
        if rewards.delegation is not None:
            tree.columns.update(scope_rewards(tree, rewards.delegation, expert))
        if how.parts:
            tree.columns.update(reward_parts(tree, rewards))
    credit(trees, how)
