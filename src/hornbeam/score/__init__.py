"""Scorers: each fills one column of a tree, at the nodes it is asked about."""

from hornbeam.score.base import Scorer
from hornbeam.score.delegation import delegation_figures, scope_rewards
from hornbeam.score.rules import (
    DelegationReward,
    RewardSettings,
    RuleScorer,
    check_task,
    make_scorer,
    rules,
)

__all__ = [
    "DelegationReward",
    "RewardSettings",
    "RuleScorer",
    "Scorer",
    "check_task",
    "delegation_figures",
    "make_scorer",
    "rules",
    "scope_rewards",
]
