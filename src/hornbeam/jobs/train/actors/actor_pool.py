"""Trees grown by actors elsewhere, each with a world of its own; this process keeps the trees.

The driver sends weights, once for all actors, and trees to grow, one by one as actors have room.
A tree is returned grown, with its cost, and is then written: what a dead actor was at is grown
again from where it started, and stands in the store once.

A budget is looked at when a tree is handed out: what is out then still returns, and may exceed it.

Left out: policies of other processes (decoupled), half-grown trees of the actors (they are lost).
"""

from __future__ import annotations

from array import array
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hornbeam.assembly.judges import content
from hornbeam.assembly.loading import Load, Say, model_folders
from hornbeam.chat import Chat, TemplateChat
from hornbeam.engine.request import Barrier, Completion, Request
from hornbeam.errors import BudgetSpent, EngineError, RecipeError
from hornbeam.grow.grower import Grower
from hornbeam.jobs.train.actors.actor import Actor
from hornbeam.jobs.train.actors.actor_models import release_here
from hornbeam.jobs.train.actors.growth_settings import GrowthSettings
from hornbeam.recipe.recipe import Recipe
from hornbeam.store.database import Stored, TreeKey
from hornbeam.store.ledger import Entry
from hornbeam.train import weights
from hornbeam.tree.nodes import Tree
from hornbeam.workers.ray_actors import RayActors


class RemoteEngine:
    """Stands in the driver for a policy's engines in the actors: `load` sends them the weights."""

    def __init__(self, chat: Chat, send: Callable[[int], Awaitable[None]]) -> None:
        self.chat, self._send = chat, send
        self.version, self.barrier = 0, Barrier()

    async def generate(self, request: Request) -> Completion:
        """Nothing is sampled here."""
        raise EngineError("trees grow in actors: this process has no engine")

    def cached(self, prompt: array[int]) -> int:
        """Nothing is kept here."""
        return 0

    async def load(self, version: int) -> None:
        """Let all actors speak with the present weights, each from its next request on."""
        await self._send(version)
        self.version = version

    async def aclose(self) -> None:
        """Nothing is held."""


class ActorPool:
    """The actors of a run and the weights that they are sent.

    Raises `RecipeError` for a recipe that cannot be grown so, and what `RayActors` raises.
    """

    def __init__(self, recipe: Recipe, base: Path, folder: Path, say: Say, load: Load) -> None:
        engine = recipe.engine
        if recipe.run.resume == "exact" and (engine.max_batch > 1 or engine.cache_tokens):
            raise RecipeError(
                'run.resume = "exact" with workers.kind = "ray": which requests share a batch'
                " depends on arrival; set engine.max_batch = 1 and engine.cache_tokens = 0, or"
                ' run.resume = "keep"'
            )
        folders = model_folders(recipe, folder, say)
        marked = {name: (path.resolve(), content(path)) for name, path in folders.items()}
        maker = partial(Actor, recipe, base, marked, release_here())
        self.actors = RayActors(recipe.workers, maker, say)
        self.present: dict[str, tuple[int, int, Any]] = {}
        self.policies = load(recipe, folder, say, self._engine)

    def _engine(
        self, recipe: Recipe, name: str, model: Any, tokenizer: Any, _: Path
    ) -> RemoteEngine:
        chat = TemplateChat(tokenizer, recipe.of(name).model.name)
        return RemoteEngine(chat, partial(self._send, name, model))

    async def _send(self, name: str, model: Any, version: int) -> None:
        """Send weights where they have changed; without, actors forget what they had computed."""
        sent, known, coming = self.present.get(name, (0, None, None))
        if version != known:
            coming = self.actors.put(weights.trained(model))
        self.present[name] = (sent + 1, version, coming)
        await self.actors.call_all("load", {name: self.present[name]})

    def growing(self, grower: Grower) -> PoolGrower:
        """A grower whose trees grow in the actors."""
        fields = {name: getattr(grower, name) for name in Grower.__dataclass_fields__}
        return PoolGrower(**fields, pool=self)

    def begin(self, step: int) -> None:
        """The trees of a step are due: actors take them as they are handed out."""

    def figures(self) -> dict[str, float]:
        """Nothing is measured in the actors."""
        return {}

    def close(self) -> None:
        """End the actors."""
        self.actors.close()


@dataclass(slots=True)
class PoolGrower(Grower):
    """A grower whose trees grow in the actors of `pool`; here they are kept and paid."""

    pool: ActorPool | None = None

    async def grow(self, key: TreeKey, start: Tree | Stored) -> Tree:
        """Grow one tree."""
        (tree,) = await self.grow_all([(key, start)])
        return tree

    async def grow_all(
        self, starts: Iterable[tuple[TreeKey, Tree | Stored]], at_once: int = 64
    ) -> list[Tree]:
        """Grow trees, at most `at_once` of them in flight; returned in the order given."""
        assert self.pool is not None and self.ledgers is None
        present, how, left = self.pool.present, GrowthSettings.of(self), list(starts)
        grown: dict[int, Tree] = {}
        spent: list[BudgetSpent] = []

        def give(number: int) -> tuple[Any, ...] | None:
            try:
                self.ledger.reserve(tokens=1, calls=1).release()
            except BudgetSpent as error:
                spent.append(error)
                return None
            return (*left[number], how, dict(present))

        def deliver(number: int, result: tuple[Tree, list[Entry], Sequence[Any], str]) -> None:
            grown[number], entries, calls, failure = result
            heard: Any = getattr(self.scorer, "heard", None)
            if failure and heard is not None:
                heard(failure)
            self.ledger.enter(entries)
            self._keep(*left[number], grown[number])
            if self.grown is not None:
                self.grown(left[number][0], grown[number], calls)

        await self.pool.actors.each("grow", range(len(left)), at_once, give, deliver)
        if spent:
            raise spent[0]
        return [grown[number] for number in range(len(left))]

    def _keep(self, key: TreeKey, start: Tree | Stored, tree: Tree) -> None:
        """Write a returned tree with its cost, in one transaction."""
        if self.keeper is None:
            return
        if isinstance(start, Tree):
            self.keeper.begin(key, tree)
        else:
            for i, node in enumerate(tree.nodes):
                self.keeper.write(key, tree, i, node)
            self.keeper.columns(key, tree.columns)
        self.keeper.done(key)
