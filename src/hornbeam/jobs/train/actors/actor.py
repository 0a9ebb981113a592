"""What an actor on another machine holds, and how it grows the trees that it is handed.

Weights change in an actor when none of its requests is in flight: those wait at a gate meanwhile,
and a tree under way goes on with the new weights at its next ask, each node with its own version.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hornbeam.assembly.guides import Guides
from hornbeam.assembly.tool_worlds import snapshots_of
from hornbeam.assembly.toolset import make_tools
from hornbeam.grow.effects import Speaker
from hornbeam.grow.grower import Grower
from hornbeam.jobs.train.actors.actor_models import Folders, check_release, load_engines
from hornbeam.jobs.train.actors.growth_settings import GrowthSettings, Present
from hornbeam.programs import make_program
from hornbeam.protocols import TimedCall
from hornbeam.recipe.recipe import Recipe
from hornbeam.score.rules import make_scorer
from hornbeam.store.database import Stored, TreeKey
from hornbeam.store.ledger import Entry, Ledger
from hornbeam.tree.nodes import Tree
from hornbeam.workers.local_workers import LocalWorkers


class Actor:
    """What an actor holds: program, tools, scorer, guides, and a copy of each policy's model.

    Raises `WorkerError` where the driver's `release` of Hornbeam is another one than that here.
    """

    def __init__(self, recipe: Recipe, base: Path, folders: Folders, release: str = "") -> None:
        check_release(release)
        place = "cuda" if recipe.workers.gpus else "cpu"
        run = recipe.run.model_copy(update={"device": place})
        self.recipe = recipe = recipe.model_copy(update={"run": run})
        self.program, _ = make_program(recipe.program.name, recipe.program.rest(), base)
        self.tools = LocalWorkers(make_tools(recipe, base), recipe.limits.tool_seconds)
        self.worlds = snapshots_of(recipe, base)
        self.scorer = make_scorer(recipe.reward, base, lambda line: None)  # the driver tells
        self._guides: dict[tuple[str, ...], Guides] = {}
        self.engines, self._tokenizer = load_engines(recipe, folders)

    async def load(self, present: Present) -> None:
        """Speak with these weights, each engine from its next request on."""
        for name, (sent, version, coming) in present.items():
            await self.engines[name].take(sent, version, coming)

    async def grow(
        self, key: TreeKey, start: Tree | Stored, how: GrowthSettings, present: Present
    ) -> tuple[Tree, list[Entry], Sequence[TimedCall], str]:
        """(the grown tree, what it cost, its calls if they are wanted, how a reward failed)."""
        await self.load(present)
        policy = self.recipe.policy_of
        agents = {
            n: Speaker(self.engines[policy(n)], *speaker) for n, speaker in how.agents.items()
        }
        if how.guides not in self._guides:
            self._guides[how.guides] = Guides(self.recipe, how.guides, self._tokenizer)
        entries: list[Entry] = []
        calls: list[TimedCall] = []
        grower = Grower(
            self.program,
            agents,
            how.strategy,
            self.scorer if how.scored else None,
            self.tools,
            Ledger(sink=entries.extend, timed=False),  # the driver's own is timed
            how.limits,
            guides=[self._guides[how.guides][column] for column in how.guides],
            episodes=how.episodes,
            worlds=self.worlds,
            states=how.states,
            grown=(lambda key, tree, made: calls.extend(made)) if how.timed else None,
        )
        (tree,) = await grower.grow_all([(key, start)], 1)
        return tree, entries, calls, self.scorer.failed
