"""The policies of a run: sets of weights that learn from the same trees, each with its engine.

A recipe without [policies] has one, without a name, and its files lie where those of a single
model lie; several lie in folders by their names. Which policy learns from a node is said by the
node's agent. Policies with adapters on the same model share the weights below them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hornbeam.assembly.endpoints import own_template
from hornbeam.assembly.engines import AWAY, engine_of, server_engine
from hornbeam.assembly.teachers import teacher_for
from hornbeam.chat import Chat
from hornbeam.engine.remote.remote_engine import served
from hornbeam.errors import RecipeError, StoreError
from hornbeam.files.atomic import whole_folder
from hornbeam.protocols import Engine
from hornbeam.recipe.recipe import PolicySettings, Recipe
from hornbeam.train import weights
from hornbeam.train.policy import Policy
from hornbeam.train.ranks import Ranks
from hornbeam.train.rows import all_nodes
from hornbeam.tree.nodes import Node, Tree

MakeEngine = Callable[[Recipe, str, Any, Any, Path], Engine]  # of a policy's name, model, tokenizer

ALWAYS = ("tokens_flat", "tokens_unique", "tokens_trained", "updates", "skipped_updates")
SUMS = (*ALWAYS, "stopped_updates", "teacher_tokens")


@dataclass(slots=True)
class Member:
    """One policy: its weights, the engine that samples from them, the agents it speaks for."""

    name: str
    policy: Policy
    engine: Engine
    agents: frozenset[str]
    settings: PolicySettings
    once: bool = False
    sent: int = -1

    def sampled(self, node: Node) -> bool:
        """Whether a node was said with these weights."""
        return node.agent in self.agents

    async def load(self) -> None:
        """Let the engine speak with the present weights, nothing kept from before.

        What is sent to another process is sent `once` a version.
        """
        if not self.once or self.sent != self.policy.version:
            await self.engine.load(self.policy.version)
            self.sent = self.policy.version

    def at(self, folder: Path) -> Path:
        """Its own place in a folder of all policies."""
        return folder / self.name if self.name else folder


class Policies:
    """All policies of a recipe, read from `folders` by name; sharded where there are `ranks`.

    `make_engine` makes their engines.
    """

    def __init__(
        self,
        recipe: Recipe,
        folders: Mapping[str, Path],
        make_engine: MakeEngine | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        self.members: list[Member] = []
        bases: dict[Path, tuple[Any, Any]] = {}
        for name in recipe.names:
            copied = recipe.run.behind > 0
            self.members.append(
                member(recipe, name, folders.get(name, Path()), bases, make_engine, ranks, copied)
            )

    def __iter__(self) -> Iterator[Member]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)

    def of(self, agent: str) -> Member:
        """The policy that speaks for an agent."""
        return next(member for member in self.members if agent in member.agents)

    @property
    def chats(self) -> dict[str, Chat]:
        """The chat of every agent."""
        return {agent: member.engine.chat for member in self for agent in member.agents}

    @property
    def tokenizer(self) -> Any:
        """The one tokenizer of all; None where a server speaks in text alone.

        Raises `RecipeError` where they differ: then no guide can read all.
        """
        from hornbeam.train.value_files import fingerprint

        found = self.tokenizers
        if None in found.values():
            return None
        if len(found) > 1 and len({fingerprint(tokenizer) for tokenizer in found.values()}) > 1:
            names = ", ".join(found)
            raise RecipeError(f"guides read one vocabulary, and policies {names} have several")
        return next(iter(found.values()))

    @property
    def tokenizers(self) -> dict[str, Any]:
        """The tokenizer of every policy by name."""
        return {member.name: member.policy.tokenizer for member in self}

    # --- learning --------------------------------------------------------------------------------

    def step(self, trees: Sequence[Tree], step: int) -> dict[str, float]:
        """Every policy whose turn it is learns from its own nodes; what that did.

        With several, sums of tokens and updates and means of the rest over those that learned, and
        each one's own figures under NAME/key.
        """
        if len(self) == 1 and not self.members[0].name:
            return self.members[0].policy.step(trees, trains=all_nodes)
        metrics = {
            member.name: member.policy.step(trees, trains=member.sampled)
            for member in self
            if member.settings.due(step)
        }
        own = {f"{name}/{key}": v for name, each in metrics.items() for key, v in each.items()}
        return {**self.joined(list(metrics.values())), **own}

    @staticmethod
    def joined(metrics: Sequence[Mapping[str, float]]) -> dict[str, float]:
        """Sums of tokens and updates, and means of the rest over those that learned.

        What one policy's settings do not tell is joined over those whose settings do.
        """
        keys = dict.fromkeys(key for each in metrics for key in each) or dict.fromkeys(
            (*ALWAYS, "loss")
        )
        out = {}
        for key in keys:
            have = [each for each in metrics if key in each and (key in SUMS or each["updates"])]
            total = sum(each[key] for each in have)
            out[key] = total if key in SUMS else total / max(1, len(have))
        return out

    def set_references(self) -> None:
        """Hold the present weights as the references of the KL."""
        for member in self:
            member.policy.set_reference()

    def engine(self, agent: str) -> Engine:
        """What answers for an agent."""
        return self.of(agent).engine

    async def load(self) -> None:
        """Let all engines speak with the present weights."""
        for member in self:
            await member.load()

    # --- files -----------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write the weights in Hugging Face layout, several in folders by name, each whole.

        Raises `StoreError`.
        """
        for member in self:
            place = member.at(folder)
            try:
                with whole_folder(place) as part:
                    member.policy.save(part)
            except OSError as error:
                reason = error.strerror or error
                raise StoreError(f"{place}: cannot be written: {reason}") from error

    def save_states(self, folder: Path) -> None:
        """Write weights and all that the next step depends on."""
        for member in self:
            member.policy.save(member.at(folder))
            member.policy.save_state(member.at(folder))

    def load_states(self, folder: Path) -> None:
        """Go on from what `save_states` wrote."""
        for member in self:
            member.policy.load_state(member.at(folder))

    @property
    def versions(self) -> int | dict[str, int]:
        """The version of the weights, or of each policy by name."""
        if len(self) == 1 and not self.members[0].name:
            return self.members[0].policy.version
        return {member.name: member.policy.version for member in self}

    @property
    def engines(self) -> list[Engine]:
        """What speaks for the policies."""
        return [member.engine for member in self]

    @property
    def served(self) -> dict[str, Any]:
        """The bills of servers that speak for policies here, as results have them."""
        return served(self.engines)

    async def aclose(self) -> None:
        """Give back what the engines hold."""
        for member in self:
            await member.engine.aclose()


class Served(Policy):
    """A policy whose weights are a server's own: it speaks, and never learns.

    `tokenizer` is None where the server speaks in text alone.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer, self.version = tokenizer, 0

    @property
    def whole(self) -> Any:
        """Raises `RecipeError`: there is no model here."""
        raise RecipeError("[engine]: the weights are the server's own, none are here")


def member(
    recipe: Recipe,
    name: str,
    folder: Path,
    bases: dict[Path, tuple[Any, Any]],
    make_engine: MakeEngine | None = None,
    ranks: Ranks | None = None,
    copied: bool = False,
) -> Member:
    """The policy of a name with its engine; `bases` are the weights that adapters share."""
    part = recipe.of(name)
    own = recipe.policies.get(name, PolicySettings())
    if recipe.engine.kind in AWAY and make_engine is None:
        speaker = server_engine(recipe, name, folder)
        policy: Policy = Served(getattr(speaker.chat, "tokenizer", None))
        return Member(name, policy, speaker, frozenset(part.agents), own)
    policy = load_policy(part, folder, bases, ranks)
    make = make_engine or partial(engine_of, copied=copied)
    engine = make(recipe, name, policy.whole, policy.tokenizer, folder)
    once = recipe.engine.kind != "local" and make_engine is None
    return Member(name, policy, engine, frozenset(part.agents), own, once)


def load_policy(
    recipe: Recipe,
    folder: Path,
    bases: dict[Path, tuple[Any, Any]],
    ranks: Ranks | None = None,
) -> Policy:
    """A policy of a folder; with adapters it stands on weights that others may share."""
    model, tokenizer = base_of(recipe, folder, bases)
    where = device(recipe)
    more: dict[str, Any] = {
        "loss": recipe.trained_loss.beside(recipe.base),
        "optim": recipe.optim,
        "lora": recipe.lora,
        "seed": recipe.run.seed,
        "name": str(folder),
        "teacher": teacher_for(recipe, where),
    }
    if ranks is None:
        return Policy(model.to(where), tokenizer, **more)
    from hornbeam.train.sharded import ShardedPolicy

    whole_at = None if recipe.engine.kind == "local" else "cpu"  # the local engine samples from it
    return ShardedPolicy(model, tokenizer, ranks=ranks, whole_at=whole_at, **more)


def base_of(recipe: Recipe, folder: Path, bases: dict[Path, tuple[Any, Any]]) -> tuple[Any, Any]:
    """(model, tokenizer) of a folder; what is to carry adapters shares its weights in `bases`."""
    if recipe.lora is None:
        model, tokenizer = weights.load(folder)
        return model, own_template(recipe, tokenizer)
    key = folder.resolve()
    if key not in bases:
        model, tokenizer = weights.load(folder)
        bases[key] = model, own_template(recipe, tokenizer)
    return weights.twin(bases[key][0]), bases[key][1]


def device(recipe: Recipe) -> str:
    """Where weights lie. Raises `RecipeError` where this machine has no such place."""
    import torch

    name = recipe.run.device
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        line = str(error).strip().partition("\n")[0]
        raise RecipeError(f"run.device = {name!r} cannot be used here: {line}") from error
    return name
