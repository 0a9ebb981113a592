"""What a fitted value model thinks of the positions of a run: the prior of a blame."""

from __future__ import annotations

from hornbeam.chat.rendered import foreign, has_ids
from hornbeam.errors import DataError
from hornbeam.jobs.score.score_trees import ScoreSummary, by_guide
from hornbeam.recipe.recipe import Recipe
from hornbeam.score.log_ratio import LogRatioGuide
from hornbeam.tree.nodes import Column, Tree

GUIDE = "blame_guide"  # the table of the guide in a recipe, and the column of its values


class RunGuide:
    """The guide of a recipe, where it has that table."""

    def __init__(self, recipe: Recipe) -> None:
        self._guide = by_guide(recipe, GUIDE) if GUIDE in recipe.guides else None

    def wanted(self, tree: Tree) -> bool:
        """Whether a tree lacks its values."""
        return self._guide is not None and GUIDE not in tree.columns

    async def values(self, tree: Tree) -> tuple[Column, int]:
        """(values in [0, 1] at the steps of a tree, the tokens that were run for them)."""
        assert self._guide is not None
        chat, summary = self._guide.chat, ScoreSummary()
        other = chat is not None and has_ids(tree) and foreign(tree, chat)
        if isinstance(self._guide.guide, LogRatioGuide):
            _check_logprobs(tree, other)
        self._guide.anew = other
        found = (await self._guide.score(tree, summary))[GUIDE]  # in [-1, 1]
        values = [None if v is None else min(max((v + 1) / 2, 0.0), 1.0) for v in found]
        return values, summary.tokens

    async def aclose(self) -> None:
        """Give back the model."""
        if self._guide is not None:
            await self._guide.aclose()


def _check_logprobs(tree: Tree, foreign: bool) -> None:
    """Raise `DataError` where a run holds nothing that a ratio of log-probs could be taken of."""
    said = [node for node in tree.nodes if node.tokens]
    if foreign:
        raise DataError(
            "--guide: the run's ids are another model's than those that the guide reads"
        )
    if not said or any(not node.logprobs for node in said):
        raise DataError("--guide: the run holds no log-probs of what was sampled, which it reads")
