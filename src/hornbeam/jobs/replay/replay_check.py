"""Runs a program once a task, then again from each step: what it does not repeat is said."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hornbeam.assembly.loading import load_policies
from hornbeam.assembly.progress import Progress
from hornbeam.assembly.task_order import tree_seed
from hornbeam.assembly.world import World
from hornbeam.jobs.event_loop import run_loop
from hornbeam.jobs.preparation import Say, planned
from hornbeam.protocols import Fork, State, Strategy
from hornbeam.recipe.recipe import Recipe
from hornbeam.store.database import TreeKey
from hornbeam.store.ledger import IGNORED, REFUSED, TURN_TOKENS, TURNS, Ledger
from hornbeam.tree.nodes import Tree

SEEN = (IGNORED, REFUSED, *TURNS)  # kinds of the ledger


class EveryStep(Strategy):
    """One episode, then one more from each node on its path but the last."""

    def ask(self, tree: Tree, state: State) -> list[Fork]:
        """The first episode, and the forks when it has ended."""
        if 0 not in state.asked:
            return [Fork(0, 0)]
        if 0 not in state.results:
            return []
        path = [0, *tree.path(state.results[0])][:-1]
        forks = [Fork(number, node) for number, node in enumerate(path, 1)]
        return [fork for fork in forks if fork.episode not in state.asked]

    def leaves(self) -> int:
        """The most there can be is not known before the first one ended."""
        return 1


@dataclass(frozen=True, slots=True)
class ReplayFigures:
    """The result of the runs. `first`: task, step and error of the first fork that went wrong.

    `worlds` are forks that got no world as their path had left it (calls that were made again gave
    another result, it could not be copied). `turns`: kinds of the ledger that tell what became of
    earlier answers in prompts.
    """

    tasks: int
    failed: int  # first runs that failed: nothing was forked there that could be trusted
    forks: int
    diverged: int
    first: tuple[str, int, str] | None
    turns: dict[str, float] = field(default_factory=dict)
    worlds: int = 0

    @property
    def wrong(self) -> int:
        """Forks that did not repeat their path."""
        return self.diverged + self.worlds

    def kept(self) -> str:
        """The share of the tokens of earlier answers that stood in prompts as sampled, and why the
        others did not; "" where none came back.
        """
        whys = {
            kind.removeprefix(TURN_TOKENS).replace("_", " "): amount
            for kind, amount in self.turns.items()
            if kind.startswith(TURN_TOKENS)
        }
        if not (total := sum(whys.values())):
            return ""
        shares = {why: f"{100 * amount / total:.1f} %" for why, amount in whys.items()}
        others = ", ".join(f"{why} {share}" for why, share in shares.items() if why != "kept")
        line = f"Tokens of earlier answers kept as sampled: {shares.get('kept', '0.0 %')}"
        return f"{line} ({others})" if others else line

    def ignored(self) -> str:
        """The settings of requests that were ignored, with how often; "" of none."""
        found = {k: n for k, n in self.turns.items() if k.startswith(IGNORED)}
        named = ", ".join(f"{k.removeprefix(IGNORED)} {n:.0f}" for k, n in found.items())
        return f"Settings of requests that are ignored: {named}" if named else ""


def replay_figures(trees: Sequence[Tree]) -> ReplayFigures:
    """The figures of trees that `EveryStep` grew."""
    failed = forks = diverged = worlds = 0
    first = None
    for tree in trees:
        for leaf in tree.leaves():
            node = tree.nodes[leaf]
            if node.origin.episode == 0:
                failed += bool(node.error)
                continue
            forks += 1
            kind = node.error.partition(":")[0]
            diverged += kind == "Divergence"
            worlds += kind == "WorldError"
            if kind in ("Divergence", "WorldError"):
                first = first or (str(tree.task["id"]), node.origin.episode - 1, node.error)
    return ReplayFigures(len(trees), failed, forks, diverged, first, worlds=worlds)


def turns_of(ledger: Ledger) -> dict[str, float]:
    """What a ledger holds of earlier answers in prompts, and of settings that were ignored."""
    return {k: n for k, n in ledger.totals.items() if k.startswith(SEEN)}


def check_replay(
    recipe: Recipe, base: Path, count: int, progress: Progress, say: Say
) -> ReplayFigures:
    """Runs and forks of the program on the first `count` training tasks. Raises as its parts do."""
    made = planned(recipe, base, say, tasks=["train"])

    async def grow() -> ReplayFigures:
        with tempfile.TemporaryDirectory() as scratch:
            policies = load_policies(recipe, Path(scratch), lambda text: None)
            world, ledger = World.build(recipe, made, policies), Ledger(recipe.budget)
            try:
                await policies.load()
                keys = [TreeKey("replay", 0, n) for n in range(len(made.train.tasks[:count]))]
                starts = [
                    (key, Tree(task.to_json(), seed=tree_seed(recipe.run.seed, key)))
                    for key, task in zip(keys, made.train.tasks)
                ]
                grower = world.grower(ledger, None, trained=False)
                ended = progress.count("replay", len(starts))
                grower = replace(grower, strategy=EveryStep(), scorer=None, ended=ended)
                trees = await grower.grow_all(starts)
                return replace(replay_figures(trees), turns=turns_of(ledger))
            finally:
                progress.end()
                await world.aclose()

    return run_loop(grow())
