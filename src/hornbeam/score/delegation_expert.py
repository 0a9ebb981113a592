"""What a function of one's own says of delegations: `reward.delegation.rule = "mine.py:found"`."""

from __future__ import annotations

from pathlib import Path

from hornbeam.score.checker_pool import NoVerdict, Pool
from hornbeam.score.reward_function import RewardFunction, Warn, is_function
from hornbeam.score.rules import RewardSettings, said
from hornbeam.tree.nodes import Tree


class DelegationExpert:
    """The function, asked of one delegation at a time. `none`: those of which it said nothing.

    It is given what a reward is: `answer` is the text that a rule would read, `leaf` the node at
    which the delegation ends.
    """

    def __init__(self, settings: RewardSettings, base: Path, warn: Warn) -> None:
        assert settings.delegation is not None, "there is one"
        how, pool = settings.delegation, Pool("delegation", seconds=settings.seconds)
        self._own = RewardFunction(how.rule, how.rest(), base, pool, warn)
        self.none = 0

    def __call__(self, tree: Tree, end: int, text: str) -> float | None:
        """What it says of the delegation that ends there, None where it has no verdict."""
        try:
            found = self._own.reward_now(tree, end, text, said(tree, end)).reward
        except NoVerdict:
            found = None
        self.none += found is None
        return found


def expert_of(settings: RewardSettings, base: Path, warn: Warn) -> DelegationExpert | None:
    """The function that rewards delegations, where a recipe names one."""
    how = settings.delegation
    named = how is not None and is_function(how.rule)
    return DelegationExpert(settings, base, warn) if named else None
