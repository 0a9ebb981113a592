"""In which state a step was taken: keys that are equal where the state is, kept with the node."""

from __future__ import annotations

import asyncio

import pytest

import hornbeam as hb
from hornbeam.engine.request import Sampling
from hornbeam.episode.segmenters import Segmenter
from hornbeam.errors import RecipeError
from hornbeam.grow.effects import Speaker
from hornbeam.grow.grower import Grower
from hornbeam.grow.step_states import StepStates
from hornbeam.search import Branch, Independent
from hornbeam.store.keys import TreeKey
from hornbeam.tree.jsonl import from_json, to_json
from hornbeam.tree.nodes import Tree
from hornbeam.workers.local_workers import LocalWorkers
from hornbeam.worlds import Snapshots
from hornbeam.worlds.python_world import PythonWorld


def grown(program, states, strategy=None, world=None, tools=None, answer="ab", segment=None):
    """One tree by a scripted agent that says one of some letters."""
    engine = hb.Scripted(lambda prompt, rng: rng.choice(answer) if len(answer) < 4 else answer)
    speaker = Speaker(engine, Sampling(max_tokens=16), segment)
    grower = Grower(
        program,
        {"walker": speaker},
        strategy or Independent(n=6),
        tools=LocalWorkers(tools or {}),
        worlds=world and Snapshots(world),
        states=states,
    )
    start = Tree(hb.Task("t", "?").to_json(), seed=3)
    (tree,) = asyncio.run(grower.grow_all([(TreeKey("t", 0, 0), start)]))
    assert not [node.error for node in tree.nodes if node.error]
    return tree


async def walk(task, ep):
    """Moves on at each "a", and is told where it is."""
    at, messages = 0, [hb.user("at 0")]
    for _ in range(4):
        reply = await ep.ask("walker", messages)
        at += reply.text == "a"
        messages += [hb.assistant(reply.text), hb.user(f"at {at}")]
    return at


def places(tree, i):
    """How often it had moved before a node."""
    return sum(tree.nodes[k].text == "a" for k in tree.path(tree.nodes[i].parent))


def test_observations_are_equal_where_the_same_was_told():
    tree = grown(walk, StepStates("observation"))
    told = {}
    for i in range(1, len(tree)):
        told.setdefault(places(tree, i), set()).add(tree.nodes[i].state)
    assert len(told) >= 3 and all(len(keys) == 1 for keys in told.values())
    assert len(set.union(*told.values())) == len(told)
    assert from_json(to_json(tree)).nodes == tree.nodes


def test_prompts_are_equal_where_all_that_came_before_is():
    tree = grown(walk, StepStates("prompt"))
    said = {}
    for i in range(1, len(tree)):
        path = "".join(tree.nodes[k].text for k in tree.path(tree.nodes[i].parent))
        said.setdefault(path, set()).add(tree.nodes[i].state)
    assert all(len(keys) == 1 for keys in said.values())
    assert len(set.union(*said.values())) == len(said)


def test_prompts_are_read_without_regard_to_case_and_white_space():
    async def ask(task, ep):
        first = await ep.ask("walker", [hb.user("?")])
        said = {"a": " at\n0 ", "b": "AT 0"}[first.text]
        await ep.ask("walker", [hb.user(said)])
        await ep.ask("walker", [hb.user("at 1")])
        return said

    tree = grown(ask, StepStates("prompt"), Independent(n=8))
    paths = [tree.path(leaf) for leaf in tree.leaves()]
    assert {tree.nodes[path[-1]].answer for path in paths} == {" at\n0 ", "AT 0"}
    (second,) = {tree.nodes[path[1]].state for path in paths}
    (third,) = {tree.nodes[path[2]].state for path in paths}
    assert second != third


def step(letter, world):
    world["at"] = world.get("at", 0) + (letter == "a")


async def act(task, ep):
    """Moves in a world, and is told nothing."""
    for _ in range(3):
        reply = await ep.ask("walker", [hb.user("?")])
        await ep.call("step", letter=reply.text)


@pytest.mark.parametrize("fork", ["snapshot", "rerun"])
def test_worlds_are_equal_where_they_hold_the_same_behind_forks_too(fork):
    states, world = StepStates("world"), PythonWorld(fork=fork)
    tree = grown(act, states, Branch(trunks=3, nodes=2), world, {"step": step})
    held = {}
    for i in range(1, len(tree)):
        if tree.nodes[i].calls:
            began = tree.nodes[i].parent == 0  # before the first call the world is empty
            key = "empty" if began else places(tree, i)
            held.setdefault(key, set()).add(tree.nodes[i].state)
    assert len(held) >= 3 and all(len(keys) == 1 for keys in held.values())
    assert len(set.union(*held.values())) == len(held)


def test_chunks_of_an_answer_are_told_apart_by_what_was_said_before():
    states, segment = StepStates("observation"), Segmenter(text=("\n",))

    async def ask(task, ep):
        await ep.ask("walker", [hb.user("?")])

    tree = grown(ask, states, Independent(n=2), answer="one\ntwo\none\n", segment=segment)
    first, second = tree.path(tree.leaves()[0]), tree.path(tree.leaves()[1])
    keys = [[tree.nodes[i].state for i in path] for path in (first, second)]
    assert len(keys[0]) >= 3 and keys[0] == keys[1] and len(set(keys[0])) == len(keys[0])


def test_without_them_no_node_has_a_state():
    assert not any(node.state for node in grown(walk, None).nodes)


OWN = """
def last(messages, task, agent, mark: str = "-"):
    return f"{agent}{mark}{messages[-1]['content']}"

def number(messages):
    return 7

def broken(messages):
    return messages[9]["content"]

def held(messages, world):
    return str(world)
"""


def test_functions_of_ones_own(tmp_path):
    (tmp_path / "mine.py").write_text(OWN)
    states = StepStates.named("mine.py:last", {"mark": "/"}, tmp_path)
    tree = grown(walk, states)
    assert {f"walker/at {places(tree, i)}" for i in range(1, len(tree))} == {
        node.state for node in tree.nodes[1:]
    }
    tree = grown(
        act,
        StepStates.named("mine.py:held", {}, tmp_path),
        Independent(n=3),
        PythonWorld(),
        {"step": step},
    )
    assert {"{}", "{'at': 1}"} <= {node.state for node in tree.nodes[1:]}


@pytest.mark.parametrize(
    "name, told", [("number", "is a text"), ("broken", "IndexError: list index out of range")]
)
def test_what_a_function_gives_else_fails_its_episode(tmp_path, name, told):
    (tmp_path / "mine.py").write_text(OWN)
    states = StepStates.named(f"mine.py:{name}", {}, tmp_path)
    with pytest.raises(AssertionError, match=told):
        grown(walk, states)


def test_wrong_names_and_settings_are_told(tmp_path):
    (tmp_path / "mine.py").write_text(OWN)
    with pytest.raises(RecipeError, match=r"state key 'word': did you mean 'world'"):
        StepStates.named("word", {})
    with pytest.raises(RecipeError, match="has no setting 'mork': did you mean 'mark'"):
        StepStates.named("mine.py:last", {"mork": 1}, tmp_path)
