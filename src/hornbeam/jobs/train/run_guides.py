"""The guides of a training run: those that judge as trees grow, and the heads that it fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hornbeam.assembly.guides import Guides, with_parts
from hornbeam.assembly.loading import Say, model_folders
from hornbeam.assembly.needed_columns import HEAD, needed_columns
from hornbeam.assembly.plan import Plan
from hornbeam.assembly.policies import Policies, device
from hornbeam.jobs.train.fitted_heads import HeadLearner
from hornbeam.jobs.train.parts import Learner
from hornbeam.protocols import Guide
from hornbeam.recipe.recipe import Recipe
from hornbeam.score.some_steps import SomeSteps
from hornbeam.store.database import Store
from hornbeam.train.train_settings import HeadSettings

if TYPE_CHECKING:
    from hornbeam.train.value_head import ValueHead


@dataclass(frozen=True, slots=True)
class RunGuides:
    """`reading` judge as trees grow, in the order of `columns`; `heads` are fitted, by column."""

    guides: Guides
    columns: Sequence[str]
    reading: Sequence[Guide]
    heads: Mapping[str, ValueHead]

    @classmethod
    def of(cls, recipe: Recipe, plan: Plan, policies: Policies, made: Path, say: Say) -> RunGuides:
        """All that credit and growth read; `made` is for tiny models. Raises as `Guides` does.

        Guides of growth alone are asked only about steps where growth may read them.
        """
        reads = needed_columns(recipe, plan.credit, plan.strategy)
        heads = heads_of(recipe, reads, made, say)
        models = {column: head.model for column, head in heads.items()}
        guides = Guides(recipe, reads, policies.tokenizer if reads else None, models)
        columns = guides.needed(reads)
        every = {*guides.needed(needed_columns(recipe, plan.credit))}
        reading = [
            guides[c] if c in every else SomeSteps(guides[c], plan.strategy.reads_at)
            for c in columns
        ]
        return cls(guides, columns, reading, heads)

    def fitting(self, learner: Learner, policies: Policies, store: Store) -> Learner:
        """The learner, behind which heads are fitted."""
        return HeadLearner(learner, self.heads, policies, store) if self.heads else learner

    async def open(self) -> None:
        """See that judges are there. Raises `EngineError` and `ScoreError` where they are not."""
        await self.guides.open()

    async def aclose(self) -> None:
        """Give back what all of them hold."""
        await self.guides.aclose()


def heads_of(
    recipe: Recipe, columns: Sequence[str], folder: Path, say: Say
) -> dict[str, ValueHead]:
    """The heads that these columns need, on the model that the policy begins as."""
    needed = [c for c in with_parts(recipe.guides, columns) if recipe.guides[c].kind == HEAD]
    if not needed:
        return {}
    from hornbeam.train.value import ValueModel
    from hornbeam.train.value_head import ValueHead

    (base, *_), seed = model_folders(recipe, folder, say).values(), recipe.run.seed
    how: dict[str, Any] = {"optim": recipe.optim, "seed": seed, "device": device(recipe)}
    settings = {column: HeadSettings(**recipe.guides[column].rest()) for column in needed}
    return {c: ValueHead(ValueModel.load(base, **how), settings[c]) for c in needed}
