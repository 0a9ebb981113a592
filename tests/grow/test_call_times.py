"""When calls were made: noted where somebody wants to know, with what came of them."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise

from hornbeam.chat import assistant, user
from hornbeam.engine.scripted import Scripted
from hornbeam.errors import ToolError
from hornbeam.grow.effects import Speaker
from hornbeam.grow.grower import Grower
from hornbeam.search import Branch, Independent
from hornbeam.store.database import TreeKey
from hornbeam.tree.nodes import Tree
from hornbeam.workers.local_workers import LocalWorkers

KEY = TreeKey("train", 3, 1)
TASK = {"id": "a", "question": "how much?"}


async def program(task, ep):
    messages = [user(task.question)]
    said = await ep.ask("solver", messages)
    found = await ep.call("add", a=1, b=2)
    with suppress(ToolError):
        await ep.call("fail")
    last = await ep.ask("solver", [*messages, assistant(said.text), user(str(found))])
    return last.text


def fail():
    raise ValueError("no\nway")


def grower(**more):
    tools = {"add": lambda a, b: a + b, "fail": fail}
    agents = {"solver": Speaker(Scripted(lambda prompt, rng: rng.choice(["one", "two"])))}
    return Grower(program, agents, Independent(n=2), tools=LocalWorkers(tools), **more)


def grow(how):
    return asyncio.run(how.grow(KEY, Tree(dict(TASK), seed=1)))


def test_every_call_is_noted_with_its_times_and_what_came_of_it():
    heard = []
    tree = grow(grower(grown=lambda *what: heard.append(what)))
    ((key, grown, calls),) = heard
    assert key == KEY and grown is tree
    for episode in (0, 1):
        mine = [call for call in calls if call.episode == episode]
        assert [(call.kind, call.name, call.turn) for call in mine] == [
            ("chat", "solver", 0),
            ("tool", "add", 0),
            ("tool", "fail", 0),
            ("chat", "solver", 1),
        ]
        assert all(before.end <= call.begin for before, call in pairwise(mine))
        assert all(call.begin <= call.end for call in mine)
        first, added, failed, last = mine
        nodes = [i for i, n in enumerate(tree.nodes) if i and n.origin.episode == episode]
        assert [first.said, last.said] == [tree.nodes[i].text for i in nodes]
        assert [first.sampled, last.sampled] == [len(tree.nodes[i].tokens) for i in nodes]
        assert [first.read, last.read] == [len(tree.context(i)) for i in nodes]
        assert (first.finish, first.error) == ("stop", "")
        assert (added.given, added.said) == ({"a": 1, "b": 2}, 3)
        assert failed.said is None and failed.error.startswith("ToolError: ")
        assert "\n" not in failed.error


def test_what_a_fork_replays_is_noted_once():
    heard = []
    how = replace(
        grower(grown=lambda *what: heard.append(what)),
        strategy=Branch(trunks=1, nodes=1, rounds=1),
    )
    tree = grow(how)
    ((_, _, calls),) = heard
    assert sum(call.kind == "chat" for call in calls) == len(tree.nodes) - 1


def test_growing_is_the_same_whether_calls_are_noted_or_not():
    assert grow(grower()) == grow(grower(grown=lambda *what: None))
