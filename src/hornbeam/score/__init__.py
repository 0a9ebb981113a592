"""Scorers: each fills one column of a tree, at the nodes it is asked about."""

from hornbeam.protocols import Scorer
from hornbeam.score.delegation import delegation_figures, scope_rewards
from hornbeam.score.rules import (
    PARTS,
    DelegationReward,
    RewardSettings,
    RuleScorer,
    check_task,
    make_scorer,
    reward_parts,
    rules,
)

__all__ = [
    "PARTS",
    "DelegationReward",
    "RewardSettings",
    "RuleScorer",
    "Scorer",
    "check_task",
    "delegation_figures",
    "make_scorer",
    "reward_parts",
    "rules",
    "scope_rewards",
]
