"""Trees grown by actors elsewhere, each with a world of its own; this process keeps the trees.

The driver sends weights, once for all actors, and trees to grow, one by one as actors have room.
A tree comes home grown, with what it cost, and is then written: what a dead actor was at is grown
again from where it started, and stands in the store once.

Weights change in an actor when none of its requests is in flight: those wait at a gate meanwhile,
and a tree under way goes on with the new weights at its next ask, each node with its own version.

A budget is looked at when a tree is handed out: what is out then comes home, and may pass it.

Left out: policies of other processes (decoupled), half-grown trees of the actors (they are lost).
"""

from __future__ import annotations

import asyncio
import socket
import tempfile
from array import array
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from hornbeam.chat import Chat, TemplateChat
from hornbeam.effects import Speaker
from hornbeam.engine.base import Completion, Engine, Request, Sampling, Turnstile
from hornbeam.errors import BudgetSpent, EngineError, ModelError, RecipeError, WorkerError
from hornbeam.grow import Grower
from hornbeam.ledger import Entry, Ledger
from hornbeam.program import Limits
from hornbeam.programs import make_program
from hornbeam.run.engines import engine_of
from hornbeam.run.guides import Guides
from hornbeam.run.judges import content
from hornbeam.run.policies import base_of, device
from hornbeam.run.recipe import Recipe
from hornbeam.run.wire import Load, Plan, Say, make_tools, model_folders
from hornbeam.score.rules import make_scorer
from hornbeam.search import Strategy
from hornbeam.segment import Segmenter
from hornbeam.store import Stored, TreeKey
from hornbeam.train import weights
from hornbeam.tree import Tree
from hornbeam.workers.local import LocalWorkers
from hornbeam.workers.ray import RayActors

# By policy: how often weights were sent, their version, and the weights on their way.
Present = Mapping[str, tuple[int, int, Awaitable[Mapping[str, Any]]]]
Folders = Mapping[str, tuple[Path, str]]  # by policy: where its model lies, what its weights are


@dataclass(frozen=True, slots=True)
class How:
    """What of a grower is told with each tree; the rest is in the actor's own world."""

    strategy: Strategy
    agents: dict[str, tuple[Sampling, Segmenter | None, bool, bool]]
    scored: bool
    limits: Limits
    guides: tuple[str, ...]
    episodes: int | None

    @classmethod
    def of(cls, grower: Grower) -> How:
        """How a grower grows."""
        agents = {n: (s.sampling, s.segment, s.trained, s.tags) for n, s in grower.agents.items()}
        guides = tuple(guide.column for guide in grower.guides)
        scored = grower.scorer is not None
        return cls(grower.strategy, agents, scored, grower.limits, guides, grower.episodes)


# --- in an actor ---------------------------------------------------------------------------------


class Voice:
    """An engine whose weights may change while requests come: they wait while it loads."""

    def __init__(self, engine: Engine, model: Any) -> None:
        self.engine, self.model, self.sent = engine, model, 0
        self.chat, self.turnstile, self.version = engine.chat, engine.turnstile, engine.version
        self._flying = 0
        self._open, self._idle = asyncio.Event(), asyncio.Event()
        self._open.set()
        self._idle.set()
        self._loading = asyncio.Lock()

    async def generate(self, request: Request) -> Completion:
        """Sample one completion, by weights that do not change meanwhile."""
        while not self._open.is_set():
            await self._open.wait()
        self._flying += 1
        self._idle.clear()
        try:
            return await self.engine.generate(request)
        finally:
            self._flying -= 1
            if not self._flying:
                self._idle.set()

    def cached(self, prompt: array[int]) -> int:
        """How many of the prompt's first tokens need not be computed."""
        return self.engine.cached(prompt)

    async def take(
        self, sent: int, version: int, coming: Awaitable[Mapping[str, Any]] | None
    ) -> None:
        """Speak with the weights of a sending, unless those of a later one speak already."""
        async with self._loading:
            if sent <= self.sent:
                return
            fresh = not self.sent or version != self.version
            values = await coming if fresh and coming is not None else None
            self._open.clear()
            try:
                await self._idle.wait()
                if values is not None:
                    weights.take(self.model, values)
                await self.engine.load(version)
                self.sent, self.version = sent, version
            finally:
                self._open.set()

    async def load(self, version: int) -> None:
        """Forget what was computed and speak as this version."""
        await self.take(self.sent + 1, version, None)

    async def aclose(self) -> None:
        """Give back what is held."""
        await self.engine.aclose()


class Station:
    """What an actor holds: program, tools, scorer, guides, and a copy of each policy's model.

    Raises `WorkerError` where the driver's `release` of Hornbeam is another one than that here.
    """

    def __init__(self, recipe: Recipe, base: Path, folders: Folders, release: str = "") -> None:
        if release and release != _release():
            raise WorkerError(
                f"{socket.gethostname()} has hornbeam {_release() or 'of no release'}, the driver"
                f" {release}: install the same on all machines"
            )
        place = "cuda" if recipe.workers.gpus else "cpu"
        run = recipe.run.model_copy(update={"device": place})
        self.recipe = recipe = recipe.model_copy(update={"run": run})
        self.program, _ = make_program(recipe.program.name, recipe.program.rest(), base)
        self.tools = LocalWorkers(make_tools(recipe, base), recipe.limits.tool_seconds)
        self.scorer = make_scorer(recipe.reward)
        bases: dict[Path, tuple[Any, Any]] = {}
        self._tokenizer: Any = None
        self._guides: dict[tuple[str, ...], Guides] = {}
        with tempfile.TemporaryDirectory() as scratch:
            found = _found(recipe, folders, Path(scratch) / "model")
            self.voices = {name: self._voice(name, found[name], bases) for name in recipe.names}

    def _voice(self, name: str, folder: Path, bases: dict[Path, tuple[Any, Any]]) -> Voice:
        part = self.recipe.of(name)
        model, self._tokenizer = base_of(part, folder, bases)
        model = model.to(device(self.recipe)).eval()
        weights.without_noise(model)
        if part.lora is not None:
            model = weights.add_lora(model, part.lora, part.run.seed).eval()
        return Voice(engine_of(self.recipe, name, model, self._tokenizer, folder), model)

    async def load(self, present: Present) -> None:
        """Speak with these weights, each engine from its next request on."""
        for name, (sent, version, coming) in present.items():
            await self.voices[name].take(sent, version, coming)

    async def grow(
        self, key: TreeKey, start: Tree | Stored, how: How, present: Present
    ) -> tuple[Tree, list[Entry]]:
        """(the grown tree, what it cost) of one start."""
        await self.load(present)
        policy = self.recipe.policy_of
        agents = {n: Speaker(self.voices[policy(n)], *told) for n, told in how.agents.items()}
        if how.guides not in self._guides:
            self._guides[how.guides] = Guides(self.recipe, how.guides, self._tokenizer)
        entries: list[Entry] = []
        grower = Grower(
            self.program,
            agents,
            how.strategy,
            self.scorer if how.scored else None,
            self.tools,
            Ledger(clock=lambda: 0.0, sink=entries.extend),  # the driver's own tells wall time
            how.limits,
            guides=[self._guides[how.guides][column] for column in how.guides],
            episodes=how.episodes,
        )
        (tree,) = await grower.grow_all([(key, start)], 1)
        return tree, entries


def _release() -> str:
    """The release of Hornbeam that is installed here, "" where none is."""
    try:
        return metadata.version("hornbeam")
    except metadata.PackageNotFoundError:
        return ""


def _found(recipe: Recipe, folders: Folders, scratch: Path) -> dict[str, Path]:
    """The driver's model folders where they lie here too, else those that the names lead to.

    Raises `ModelError` where adapters would stand on other weights than the driver's.
    """
    if all(path.is_dir() and content(path) == mark for path, mark in folders.values()):
        return {name: path for name, (path, _) in folders.items()}
    found = model_folders(recipe, scratch, lambda text: None)
    for name, (path, mark) in folders.items():
        if recipe.of(name).lora is not None and content(found[name]) != mark:
            raise ModelError(f"{found[name]}: other weights than the driver's in {path}")
    return found


# --- in the driver -------------------------------------------------------------------------------


class Afar:
    """Stands in the driver for a policy's engines in the actors: `load` sends them the weights."""

    def __init__(self, chat: Chat, send: Callable[[int], Awaitable[None]]) -> None:
        self.chat, self._send = chat, send
        self.version, self.turnstile = 0, Turnstile()

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


class Fleet:
    """The actors of a run and the weights that they are sent.

    Raises `RecipeError` for a recipe that cannot be grown so, and what `RayActors` raises.
    """

    def __init__(self, recipe: Recipe, base: Path, folder: Path, say: Say, load: Load) -> None:
        engine = recipe.engine
        if recipe.run.resume == "exact" and (engine.max_batch > 1 or engine.cache_tokens):
            raise RecipeError(
                'run.resume = "exact" with workers.kind = "ray": which requests share a batch'
                " hangs on arrival; set engine.max_batch = 1 and engine.cache_tokens = 0, or"
                ' run.resume = "keep"'
            )
        folders = model_folders(recipe, folder, say)
        marked = {name: (path.resolve(), content(path)) for name, path in folders.items()}
        maker = partial(Station, recipe, base, marked, _release())
        self.actors = RayActors(recipe.workers, maker, say)
        self.present: dict[str, tuple[int, int, Any]] = {}
        self.policies = load(recipe, folder, say, self._voice)

    def _voice(self, recipe: Recipe, name: str, model: Any, tokenizer: Any, _: Path) -> Afar:
        chat = TemplateChat(tokenizer, recipe.of(name).model.name)
        return Afar(chat, partial(self._send, name, model))

    async def _send(self, name: str, model: Any, version: int) -> None:
        """Send weights where they have changed; without, actors forget what they had computed."""
        sent, known, coming = self.present.get(name, (0, None, None))
        if version != known:
            coming = self.actors.put(weights.trained(model))
        self.present[name] = (sent + 1, version, coming)
        await self.actors.tell("load", {name: self.present[name]})

    def crew(self, grower: Grower) -> Crew:
        """A grower whose trees grow in the actors."""
        told = {name: getattr(grower, name) for name in Grower.__dataclass_fields__}
        return Crew(**told, fleet=self)

    def close(self) -> None:
        """End the actors."""
        self.actors.close()


def fleet_of(recipe: Recipe, plan: Plan, folder: Path, say: Say, load: Load) -> Fleet | None:
    """The actors that a recipe asks for; `folder` is for tiny models. None: trees grow here."""
    if recipe.workers.kind == "local":
        return None
    return Fleet(recipe, plan.base, folder, say, load)


@dataclass(slots=True)
class Crew(Grower):
    """A grower whose trees grow in the actors of `fleet`; here they are kept and paid."""

    fleet: Fleet | None = None

    async def grow(self, key: TreeKey, start: Tree | Stored) -> Tree:
        """Grow one tree."""
        (tree,) = await self.grow_all([(key, start)])
        return tree

    async def grow_all(
        self, starts: Iterable[tuple[TreeKey, Tree | Stored]], at_once: int = 64
    ) -> list[Tree]:
        """Grow trees, at most `at_once` of them in flight; returned in the order given."""
        assert self.fleet is not None and self.ledgers is None
        present, how, left = self.fleet.present, How.of(self), list(starts)
        grown: dict[int, Tree] = {}
        spent: list[BudgetSpent] = []

        def give(number: int) -> tuple[Any, ...] | None:
            try:
                self.ledger.reserve(tokens=1, calls=1).release()
            except BudgetSpent as error:
                spent.append(error)
                return None
            return (*left[number], how, dict(present))

        def home(number: int, told: tuple[Tree, list[Entry]]) -> None:
            grown[number], entries = told
            self.ledger.enter(entries)
            self._keep(*left[number], grown[number])

        await self.fleet.actors.each("grow", range(len(left)), at_once, give, home)
        if spent:
            raise spent[0]
        return [grown[number] for number in range(len(left))]

    def _keep(self, key: TreeKey, start: Tree | Stored, tree: Tree) -> None:
        """Write a tree that has come home, in one go with what it cost."""
        if self.keeper is None:
            return
        if isinstance(start, Tree):
            self.keeper.begin(key, tree)
        else:
            for i, node in enumerate(tree.nodes):
                self.keeper.write(key, tree, i, node)
            self.keeper.columns(key, tree.columns)
        self.keeper.done(key)
