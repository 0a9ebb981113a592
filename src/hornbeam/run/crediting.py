"""The credit of a training step: rewards out of outcomes, and credit out of rewards."""

from __future__ import annotations

from collections.abc import Sequence

from hornbeam.credit import Method, credit
from hornbeam.score import reward_parts, scope_rewards
from hornbeam.score.rules import RewardSettings
from hornbeam.tree import Tree


def credit_step(trees: Sequence[Tree], rewards: RewardSettings, how: Method) -> None:
    """Make out of outcomes the rewards that credit reads, and credit the trees of a step."""
    for tree in trees:
        if rewards.delegation is not None:
            tree.columns.update(scope_rewards(tree, rewards.delegation))
        if how.parts:
            tree.columns.update(reward_parts(tree, rewards))
    credit(trees, how)
