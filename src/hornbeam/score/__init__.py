"""Scorers: each fills one column of a tree, at the nodes it is asked about."""

from hornbeam.score.base import Scorer
from hornbeam.score.rules import RewardSettings, RuleScorer, check_task, make_scorer, rules

__all__ = ["RewardSettings", "RuleScorer", "Scorer", "check_task", "make_scorer", "rules"]
