"""Value heads that a training run fits as it goes, on what was just grown; their checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hornbeam.assembly.policies import Policies
from hornbeam.jobs.train.parts import Learner
from hornbeam.store.database import Store
from hornbeam.tree.nodes import Tree

if TYPE_CHECKING:
    from hornbeam.train.value_head import ValueHead

FOLDER = "guides"  # of a checkpoint


class HeadLearner:
    """A learner behind which heads are fitted where they are due; figures of both."""

    def __init__(
        self, learner: Learner, heads: Mapping[str, ValueHead], policies: Policies, store: Store
    ) -> None:
        self.learner, self.heads, self.policies, self.store = learner, heads, policies, store

    async def learn(self, trees: Sequence[Tree], step: int) -> dict[str, Any]:
        """As the learner; "fit_tokens" and "fit_loss" of a step after which a head was fitted."""
        update = await self.learner.learn(trees, step)
        found = [
            told
            for head in self.heads.values()
            if head.settings.due(step)
            and (told := head.fit(self._trees(head, trees, step), self._body))
        ]
        if not found:
            return update
        tokens = sum(told["fit_tokens"] for told in found)
        loss = sum(told["fit_loss"] for told in found) / len(found)
        return {**update, "fit_tokens": tokens, "fit_loss": loss}

    def _trees(self, head: ValueHead, trees: Sequence[Tree], step: int) -> list[Tree]:
        *before, _ = head.settings.steps(step)
        keys = [key for earlier in before for key in self.store.keys("train", earlier)]
        return [*(self.store.read(key).tree for key in keys), *trees]

    @property
    def _body(self) -> Any:
        return next(iter(self.policies)).policy.whole.base_model


class TrainedStates:
    """Policies and heads, as checkpoints keep them."""

    def __init__(self, policies: Policies, heads: Mapping[str, ValueHead]) -> None:
        self.policies, self.heads = policies, heads

    @property
    def versions(self) -> Any:
        """Those of the policies."""
        return self.policies.versions

    def save_states(self, folder: Path) -> None:
        """Write all that the next step depends on; a head is a value model that guides can read."""
        self.policies.save_states(folder)
        for column, head in self.heads.items():
            head.save_state(folder / FOLDER / column)

    def load_states(self, folder: Path) -> None:
        """Go on from that."""
        self.policies.load_states(folder)
        for column, head in self.heads.items():
            head.load_state(folder / FOLDER / column)
