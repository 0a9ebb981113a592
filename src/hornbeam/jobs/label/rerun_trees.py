"""Runs that others recorded, replayed by a recipe's program: trees in the policy's ids.

The program asks, and hears what was said in the record, ask by ask; its tools are called anew. So
the runs stand there as if the policy had said them, and growth can go on from any of their steps.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import replace

from hornbeam.chat import Chat
from hornbeam.chat.rendered import between, goes_on
from hornbeam.engine.request import Barrier, Completion, Request, Sampling
from hornbeam.engine.scripted import Scripted
from hornbeam.errors import EngineError, ProgramError
from hornbeam.grow.grower import Grower
from hornbeam.search import Independent
from hornbeam.store.database import Store
from hornbeam.store.keys import TreeKey
from hornbeam.store.ledger import Entry, Ledger
from hornbeam.tree.nodes import INJECTED, Tree, floats

WHOLE = Sampling(max_tokens=1 << 20)  # what was said is not cut


def runs_of(tree: Tree) -> list[list[str]]:
    """What was said in each run of a tree, an entry an answer; steps of one answer are joined."""
    out = []
    for leaf in tree.leaves():
        said: list[str] = []
        for i in tree.path(leaf):
            node = tree.nodes[i]
            if said and goes_on(tree, i):
                said[-1] += between(tree.nodes[node.parent], node) + node.text
            elif node.agent and node.finish != "end":
                said.append(node.text)
        out.append(said)
    return out


class RecordedEngine:
    """An engine that says what was said at this ask of this run. It knows no log-probs."""

    def __init__(self, runs: Sequence[Sequence[str]], chat: Chat) -> None:
        self.runs, self.chat = runs, chat
        self.version, self.barrier = INJECTED, Barrier()
        self.heard = [0] * len(runs)  # how many answers of each run were asked for

    async def generate(self, request: Request) -> Completion:
        """The answer of the record. Raises `EngineError` where there is none."""
        episode, turn, _ = request.order[-3:]
        said = self.runs[episode]
        self.heard[episode] = max(self.heard[episode], turn + 1)
        if turn >= len(said):
            raise EngineError(f"the record holds {len(said)} answers, and the program asks again")
        done = await Scripted(said[turn], self.chat).generate(request)
        return replace(done, logprobs=floats(), version=INJECTED)

    def cached(self, prompt: array[int]) -> int:
        """None: nothing is run."""
        return 0

    async def load(self, version: int) -> None:
        """There are no weights."""

    async def aclose(self) -> None:
        """Nothing is held."""


async def rerun(
    trees: Sequence[Tree], starts: Sequence[tuple[TreeKey, Tree]], grower: Grower, trunks: int
) -> tuple[int, list[str]]:
    """Keep the first `trunks` runs of every tree under its key, in the grower's store.

    `starts` are trees of the tasks alone. Returns how many runs were told, and what was other than
    in the record, a line a run. Raises `ProgramError` where that are all of them.
    """
    store = grower.keeper
    assert isinstance(store, Store)
    held = {key for stage in {key.stage for key, _ in starts} for key in store.keys(stage)}
    count, odd, made = 0, list[str](), []
    for tree, (key, start) in zip(trees, starts, strict=True):
        if key in held:
            continue
        runs, ledger = runs_of(tree)[:trunks], Ledger()
        engines = {
            name: RecordedEngine(runs, who.engine.chat) for name, who in grower.agents.items()
        }
        agents = {
            name: replace(who, engine=engines[name], sampling=WHOLE)
            for name, who in grower.agents.items()
        }
        how = Independent(n=len(runs))
        own = replace(grower, agents=agents, strategy=how, ledger=ledger, ledgers=None)
        grown = await replace(own, keeper=None, guides=()).grow(key, start)
        made.append((key, grown, ledger.totals.get("tool_calls", 0)))
        ends = {grown.nodes[i].origin.episode: grown.nodes[i].error for i in grown.leaves()}
        for episode, said in enumerate(runs):
            heard = max(engine.heard[episode] for engine in engines.values())
            short = f"the program ended after {heard} of {len(said)} answers"
            if why := ends[episode] or (short if heard < len(said) else ""):
                odd.append(f"task {grown.task.get('id')!r}, run {episode + 1}: {why}")
        count += len(runs)
    if count and len(odd) == count:
        raise ProgramError(
            f"none of {count} recorded runs is reproduced by the recipe's program; {odd[0]}"
        )
    for key, grown, calls in made:
        store.begin(key, grown)
        store.columns(key, grown.columns)
        store.enter([Entry(str(key), 0, -1, "tool_calls", calls)])
    store.flush()
    return count, odd
