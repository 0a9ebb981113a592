"""`hornbeam gateway check`: whether an agent outside replays, and if not, what of it varies.

It runs a few times against an engine that says the same each time, twice more under other seeds of
Python's hashes, and is forked at every step of its first run. What differs between the runs is told
by kind, with the patterns that mask it; whether it replays with those is tried at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from hornbeam.errors import ProgramError
from hornbeam.gateway.agent_program import AgentProgram
from hornbeam.gateway.agent_settings import AgentCommand
from hornbeam.gateway.session import Arrival
from hornbeam.gateway.volatile import Volatile
from hornbeam.grow.effects import Speaker
from hornbeam.grow.grower import Grower
from hornbeam.jobs.replay.probe_engine import ProbeEngine
from hornbeam.jobs.replay.replay_check import EveryStep, ReplayFigures, replay_figures, turns_of
from hornbeam.jobs.replay.varied_requests import SEED, Variation, masks, variations
from hornbeam.protocols import Strategy
from hornbeam.search import Independent
from hornbeam.store.keys import TreeKey
from hornbeam.tree.nodes import Tree
from hornbeam.tree.task import Task

SEEDS = ("0", "1")  # of Python's hashes


@dataclass(frozen=True, slots=True)
class AgentCheck:
    """What was seen. `failure`: why a run failed; then little else is known.

    `masked` are the figures with the patterns that `volatile` adds, where some were found.
    """

    runs: int
    requests: int  # of the first run
    failure: str
    figures: ReplayFigures | None
    found: tuple[Variation, ...]
    volatile: tuple[str, ...] = ()
    masked: ReplayFigures | None = None

    @property
    def replays(self) -> bool:
        """Whether it does, as it is set."""
        return not self.failure and self.figures is not None and not self.figures.diverged


async def check_agent(
    how: AgentCommand, task: Task, runs: int = 3, agents: Sequence[str] = ("solver",)
) -> AgentCheck:
    """Run an agent, compare its runs, fork it at every step. Raises `ProgramError`."""
    how = how.model_copy(update={"on_divergence": "fail", "start": "process", "test": ""})
    asked: list[list[Arrival]] = []
    for number in range(runs):
        with _hash_seed(None if number else SEEDS[0]):
            tree, heard, _ = await _grown(how, task, agents, Independent(n=1))
        (leaf,) = tree.leaves()
        if tree.nodes[leaf].error or not heard:
            nothing = "it asked nothing: does it read OPENAI_BASE_URL, or ANTHROPIC_BASE_URL?"
            failure = tree.nodes[leaf].error or nothing
            return AgentCheck(number + 1, len(heard), failure, None, ())
        asked.append(heard)
    with _hash_seed(SEEDS[1]):
        _, seeded, _ = await _grown(how, task, agents, Independent(n=1))
    mask = Volatile(how.volatile)
    found = [each for other in asked[1:] for each in variations(asked[0], other, mask)]
    found = list(_once([*found, *variations(asked[0], seeded, mask, SEED)]))
    figures = await _forked(how, task, agents)
    check = AgentCheck(runs + 1, len(asked[0]), "", figures, tuple(found))
    if more := tuple(pattern for pattern in masks(found) if pattern not in how.volatile):
        new = how.model_copy(update={"volatile": (*how.volatile, *more)})
        return replace(check, volatile=more, masked=await _forked(new, task, agents))
    return check


async def _forked(how: AgentCommand, task: Task, agents: Sequence[str]) -> ReplayFigures:
    tree, _, turns = await _grown(how, task, agents, EveryStep())
    return replace(replay_figures([tree]), turns=turns)


async def _grown(
    how: AgentCommand, task: Task, agents: Sequence[str], strategy: Strategy
) -> tuple[Tree, list[Arrival], dict[str, float]]:
    """A tree that the agent grows, what it asked, and what the ledger holds of its turns."""
    program, heard = AgentProgram(how), list[Arrival]()
    program.heard = lambda _, arrival: heard.append(arrival)
    engine = ProbeEngine()
    speakers = {name: Speaker(engine) for name in agents}
    grower = Grower(program, speakers, strategy, episodes=1)
    try:
        start = Tree(task.to_json(), seed=1)
        tree = await grower.grow(TreeKey("check", 0, 0), start)
        return tree, heard, turns_of(grower.ledger)
    finally:
        await program.aclose()


@contextmanager
def _hash_seed(seed: str | None) -> Iterator[None]:
    """The seed of Python's hashes in processes that begin inside; None is as it was."""
    before = os.environ.get("PYTHONHASHSEED")
    if seed is not None:
        os.environ["PYTHONHASHSEED"] = seed
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("PYTHONHASHSEED", None)
        else:
            os.environ["PYTHONHASHSEED"] = before


def _once(found: Sequence[Variation]) -> Iterator[Variation]:
    """Each kind at its first place; what varies anyway is not repeated for another seed."""
    seen = set()
    for each in found:
        told = each.kind, each.volatile, "" if each.volatile else each.where
        if told not in seen:
            seen.add(told)
            yield each


def settings_of(command: str, folder: str = ".", python: str = "") -> AgentCommand:
    """The settings of an agent by its command line. Raises `ProgramError`."""
    if not command.strip():
        raise ProgramError("--agent is empty: give a command")
    return AgentCommand(command=command, folder=folder, python=python).beside(Path())
