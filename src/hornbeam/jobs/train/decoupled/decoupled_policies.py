"""The policies of a run of which this process trains one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hornbeam.assembly.endpoints import own_template
from hornbeam.assembly.policies import Policies, member
from hornbeam.chat import Chat, TemplateChat
from hornbeam.engine.remote.queued_engine import QueuedEngine, QueueWorker
from hornbeam.models.catalogue import AS_DATA
from hornbeam.protocols import Engine
from hornbeam.recipe.recipe import Recipe
from hornbeam.train.ranks import Ranks


class DecoupledPolicies(Policies):
    """One policy of a recipe in this process, the others by name and chat."""

    def __init__(
        self,
        recipe: Recipe,
        folders: dict[str, Path],
        name: str,
        worker: QueueWorker,
        ranks: Ranks | None = None,
    ) -> None:
        from transformers import AutoTokenizer

        self.own = member(recipe, name, folders[name], {}, ranks=ranks)
        self.members = [self.own]
        self.away: dict[str, QueuedEngine] = {}  # by agent
        self._tokenizers = {name: self.own.policy.tokenizer}
        for other in recipe.names:
            if other != name:
                part = recipe.of(other)
                tokenizer = AutoTokenizer.from_pretrained(folders[other], **AS_DATA)
                self._tokenizers[other] = own_template(part, tokenizer)
                chat = TemplateChat(self._tokenizers[other], part.model.name)
                self.away |= dict.fromkeys(part.agents, QueuedEngine(other, chat, worker))

    def __len__(self) -> int:
        return len(self._tokenizers)

    def engine(self, agent: str) -> Engine:
        """What answers for an agent: the local engine, or the request queue."""
        return self.away.get(agent) or self.own.engine

    @property
    def chats(self) -> dict[str, Chat]:
        """The chat of every agent."""
        return {**super().chats, **{agent: engine.chat for agent, engine in self.away.items()}}

    @property
    def tokenizers(self) -> dict[str, Any]:
        """The tokenizer of every policy by name, the own one first."""
        return self._tokenizers
