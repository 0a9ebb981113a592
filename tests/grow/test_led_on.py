"""Forks that lead a paused run on, and forks that share what is known of their path's asks."""

import asyncio
from collections import OrderedDict
from random import Random

import pytest

from hornbeam.chat import assistant, user
from hornbeam.engine.request import Barrier, Sampling
from hornbeam.engine.scripted import Scripted
from hornbeam.grow import growing_tree
from hornbeam.grow.effects import Speaker
from hornbeam.grow.grower import Grower
from hornbeam.protocols import Opinions
from hornbeam.search import Beam, Mcts
from hornbeam.store.keys import TreeKey
from hornbeam.store.ledger import Ledger
from hornbeam.tree.jsonl import to_json
from hornbeam.tree.nodes import Tree
from hornbeam.tree.task import Task
from hornbeam.workers.local_workers import LocalWorkers, inline

KEY = TreeKey("search", 0, 0)
begun: list[int] = []


async def walk(task, ep):
    """Six turns with a tool, draws, rewards, a delegate and a setting of its own."""
    begun.append(1)
    messages = [user(task.question)]
    for turn in range(6):
        reply = await ep.ask("walker", messages, **({"max_tokens": 9} if turn == 2 else {}))
        heard = await ep.call("echo", word=reply.text, turn=turn)
        messages += [assistant(reply.text), user(f"{heard} {ep.rng.randrange(9)}")]
        ep.reward(len(reply.text), name="length")
        if turn == 3:
            await asyncio.gather(*(ep.delegate("helper", aside, task) for _ in range(2)))
    return messages[-1]["content"]


async def aside(task, ep):
    return (await ep.ask("any", [user("aside")])).text


@inline
def echo(word, turn):
    return f"{word}{turn}"


class Longest:
    """A guide: the longer the better."""

    column = "value"

    def __init__(self):
        self.barrier = Barrier()

    def most(self, tree, nodes):
        return len(nodes)

    async def judge(self, tree, nodes):
        values = [len(tree.nodes[i].text) / 10 for i in nodes]
        return Opinions(values, len(nodes))

    def forget(self, tree):
        pass

    async def aclose(self):
        pass


def grow(strategy, seed=1, program=walk):
    """(the tree, the ledger's entries) of one growth."""
    begun.clear()
    entries: list = []
    speaker = Speaker(Scripted(lambda prompt, rng: "x" * rng.randrange(1, 9)), Sampling())
    how = Grower(
        program,
        {"walker": speaker, "helper": speaker},
        strategy,
        tools=LocalWorkers({"echo": echo}),
        ledger=Ledger(sink=entries.extend),
        guides=[Longest()],
    )
    tree = asyncio.run(how.grow(KEY, Tree(Task("t", "Where?").to_json(), seed=seed)))
    return to_json(tree), sorted(entries)


class Nothing(OrderedDict):
    """Of asks, nothing is known."""

    def __setitem__(self, key, value):
        pass


SEARCHES = [
    Beam(beams=2, width=3, depth=9),
    Mcts(simulations=12, children=2, expand="one", depth=0),
    Mcts(simulations=8, children=2, depth=2),
]


@pytest.mark.parametrize("strategy", SEARCHES, ids=repr)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_run_that_is_led_on_grows_the_tree_that_a_replay_grows(monkeypatch, strategy, seed):
    usual, number = grow(strategy, seed), len(begun)
    monkeypatch.setattr(growing_tree, "PAUSED", 0)
    assert grow(strategy, seed) == usual
    assert number < len(begun)
    known = growing_tree.KnownAsks

    def forgetful():
        made = known()
        made.said, made.coming = Nothing(), Nothing()
        return made

    monkeypatch.setattr(growing_tree, "KnownAsks", forgetful)
    assert grow(strategy, seed) == usual


def test_a_path_without_forks_is_one_run_of_its_program():
    async def talk(task, ep):
        begun.append(1)
        for turn in range(6):
            await ep.call("echo", word=(await ep.ask("walker", [user("go")])).text, turn=turn)

    grow(Beam(beams=1, width=1, depth=9), program=talk)
    assert len(begun) == 1


def test_what_is_paused_is_ended_with_the_tree():
    ended = []

    async def careful(task, ep):
        try:
            for _ in range(3):
                await ep.ask("walker", [user("go")])
        finally:
            ended.append(1)

    speaker = Speaker(Scripted(lambda prompt, rng: str(Random(1).random())), Sampling())
    how = Grower(careful, {"walker": speaker}, Beam(beams=2, width=2, depth=2), guides=[Longest()])
    asyncio.run(how.grow(KEY, Tree(Task("t", "?").to_json(), seed=1)))
    assert len(ended) >= 4


def test_a_program_that_does_not_repeat_itself_is_found_out_though_its_asks_are_known():
    numbers = iter(range(1000))

    async def odd(task, ep):
        for _ in range(3):
            await ep.ask("walker", [user(f"now {next(numbers)}")])

    speaker = Speaker(Scripted(lambda prompt, rng: str(rng.random())), Sampling())
    how = Grower(odd, {"walker": speaker}, Beam(beams=2, width=2, depth=3), guides=[Longest()])
    tree = asyncio.run(how.grow(KEY, Tree(Task("t", "?").to_json(), seed=1)))
    assert any("did not reproduce its own path" in node.error for node in tree.nodes)
