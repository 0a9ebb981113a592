"""One contract for every strategy: grown by a world of numbers, in any order, killed and restored.

In this world an episode's length, log-probs and reward hang only on the tree's seed and the
episode's number, as they would with an engine whose requests carry seeds of their own.
"""

from __future__ import annotations

from copy import deepcopy
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbeam.search import Branch, Independent, State, Strategy, restore
from hornbeam.tree import Node, Tree, canonical, floats, ids
from hornbeam.treefile import from_json, to_json

STRATEGIES = [
    Independent(n=1),
    Independent(n=6),
    Branch(),
    Branch(trunks=1, nodes=1, rounds=0),
    Branch(trunks=3, nodes=1, rounds=2),
    Branch(trunks=2, nodes=3, rounds=2, pick="entropy"),
    Branch(trunks=2, nodes=2, rounds=3, pick="mixed"),
    Branch(trunks=2, nodes=5, rounds=1, pick="entropy", penalty=0),
]
every_strategy = pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)


class World:
    """Grows a tree one step at a time; `schedule` says whose turn it is."""

    def __init__(self, strategy: Strategy, tree: Tree, schedule: Random) -> None:
        self.strategy, self.tree, self.schedule = strategy, tree, schedule
        self.state = restore(tree)
        self.ends = {node.episode: i for i, node in enumerate(tree.nodes) if i}  # last of each

    def start(self) -> list[int]:
        """Ask once; returns the episodes that are out."""
        for fork in self.strategy.ask(self.tree, self.state):
            assert fork.episode not in self.state.asked
            assert 0 <= fork.episode < self.strategy.leaves()
            assert not self.tree.nodes[fork.node].done
            assert fork.steps is None
            self.state.asked[fork.episode] = fork.node
        return sorted(set(self.state.asked) - set(self.state.told))

    def turn(self) -> bool:
        """Ask, then grow one step of one episode; false when the tree is grown."""
        out = self.start()
        if not out:
            return False
        self.step(self.schedule.choice(out))
        return True

    def step(self, episode: int) -> None:
        last = self.ends.get(episode)
        parent = self.state.asked[episode] if last is None else last
        step = 0 if last is None else self.tree.nodes[last].step + 1
        chance = Random(f"{self.tree.seed}:{episode}")
        length, reward = chance.randint(1, 4), chance.choice([0.0, 0.0, 1.0, None])
        spoken = [-Random(f"{self.tree.seed}:{episode}:{step}").random() for _ in range(2)]
        done = step + 1 == length
        node = Node(
            parent,
            tokens=ids([1, 2]),
            logprobs=floats(spoken),
            episode=episode,
            step=step,
            done=done,
        )
        self.ends[episode] = index = self.tree.append(node)
        if done:
            self.tree.column("reward")[index] = reward
            self.state.told[episode] = index


def grown(strategy: Strategy, seed: int, schedule: int = 0) -> World:
    world = World(strategy, Tree({"id": "q"}, seed=seed), Random(schedule))
    while world.turn():
        pass
    return world


def shape(tree: Tree) -> dict[tuple[int, int], tuple[int, int]]:
    """Parent of every node, both by (episode, step): the tree whatever the order of its nodes."""
    place = [(-1, -1), *((node.episode, node.step) for node in tree.nodes[1:])]
    return {place[i]: place[node.parent] for i, node in enumerate(tree.nodes) if i}


@every_strategy
@given(seed=st.integers(0, 99), schedule=st.integers(0, 99))
def test_a_grown_tree_has_the_leaves_it_was_to_have(
    strategy: Strategy, seed: int, schedule: int
) -> None:
    world = grown(strategy, seed, schedule)
    assert len(world.tree.leaves()) == strategy.leaves()
    assert sorted(world.state.asked) == list(range(strategy.leaves()))
    assert all(world.tree.nodes[leaf].done for leaf in world.tree.leaves())
    assert strategy.ask(world.tree, world.state) == []
    assert strategy.ask(world.tree, restore(world.tree)) == []


@every_strategy
@given(seed=st.integers(0, 99), one=st.integers(0, 99), two=st.integers(0, 99))
def test_equal_seeds_give_equal_trees_in_whatever_order_episodes_come_back(
    strategy: Strategy, seed: int, one: int, two: int
) -> None:
    first, second = grown(strategy, seed, one), grown(strategy, seed, two)
    assert shape(first.tree) == shape(second.tree)
    assert canonical(first.tree) == canonical(second.tree)
    assert restore(first.tree).asked.keys() == first.state.asked.keys()


@every_strategy
@given(seed=st.integers(0, 99), schedule=st.integers(0, 99), turns=st.integers(0, 30))
def test_a_tree_left_at_any_moment_grows_on_from_its_file_to_the_same_tree(
    strategy: Strategy, seed: int, schedule: int, turns: int
) -> None:
    """Episodes that were out without a node are lost, and asked again from the same place."""
    world = World(strategy, Tree({"id": "q"}, seed=seed), Random(schedule))
    for _ in range(turns):
        world.turn()
    again = World(strategy, from_json(to_json(world.tree)), Random(schedule + 1))
    kept = {e: n for e, n in world.state.asked.items() if e in world.ends}
    assert again.state == State(kept, world.state.told)
    again.start()
    assert world.state.asked.items() <= again.state.asked.items()
    while again.turn():
        pass
    assert shape(again.tree) == shape(grown(strategy, seed).tree)


@every_strategy
@given(seed=st.integers(0, 99), turns=st.integers(0, 12))
def test_asking_changes_nothing_and_hangs_on_nothing_else(
    strategy: Strategy, seed: int, turns: int
) -> None:
    world = World(strategy, Tree({"id": "q"}, seed=seed), Random(0))
    for _ in range(turns):
        world.turn()
    tree, state = deepcopy(world.tree), deepcopy(world.state)
    forks = strategy.ask(world.tree, world.state)
    assert (world.tree, world.state) == (tree, state)
    told_backwards = State(state.asked, dict(reversed(state.told.items())))
    assert forks == strategy.ask(world.tree, told_backwards)
