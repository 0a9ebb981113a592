"""One contract for every strategy: grown by a world of numbers, in any order, killed and restored.

In this world what an episode's step says, is worth and earns hangs only on the tree's seed, the
episode's number and the step's, as it would with an engine whose requests carry seeds of their own.
An episode pauses after the strategy's `steps` nodes; values stand in the tree before it is told.
"""

from __future__ import annotations

from copy import deepcopy
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbeam.search import (
    Beam,
    Branch,
    Dvts,
    Independent,
    Mcts,
    Particle,
    Reset,
    Rollouts,
    State,
    Strategy,
    Vote,
    restore,
    strategies,
)
from hornbeam.tree.jsonl import from_json, to_json
from hornbeam.tree.nodes import Node, Origin, Tree, canonical, floats, ids

FIXED = [  # these grow as many episodes as they say
    Independent(n=1),
    Independent(n=6),
    Branch(),
    Branch(trunks=1, nodes=1, rounds=0),
    Branch(trunks=3, nodes=1, rounds=2),
    Branch(trunks=2, nodes=3, rounds=2, pick="entropy"),
    Branch(trunks=2, nodes=2, rounds=3, pick="mixed"),
    Branch(trunks=2, nodes=5, rounds=1, pick="entropy", penalty=0),
    Branch(trunks=2, nodes=2, rounds=3, pick="guide"),
    Branch(trunks=3, nodes=2, rounds=2, pick="predicted_mixed", weight=1),
]
SETTLED = [  # these hang on nothing but the seed
    *FIXED,
    Branch(trunks=3, nodes=2, rounds=3, pick="predicted_mixed", stop=0.3),
    Branch(trunks=2, nodes=1, rounds=4, pick="predicted_mixed", stop=0.45),
    Vote(n=7, parallel=1),
    Beam(beams=1, width=1),
    Beam(beams=3, width=2),
    Beam(beams=2, width=3, depth=2),
    Beam(beams=2, width=2, first="all"),
    Dvts(subtrees=3, width=2),
    Dvts(subtrees=2, width=1, depth=3),
    Particle(particles=1),
    Particle(particles=5, temperature=0.5),
    Particle(particles=4, resample="systematic", depth=3),
    Mcts(),
    Mcts(simulations=7, parallel=3, expand="one", merge=True),
    Mcts(simulations=9, widen=0.5, children=2, rule="puct", c=2, virtual_visit=False),
    Mcts(rollout=True, simulations=20, children=2, c=8),
    Mcts(rollout=True, simulations=15, children=1, widen=0.5, parallel=4, merge=True),
    Mcts(rollout=True, simulations=30, children=4, parallel=2, patience=5),
    Mcts(style="masprm", simulations=6),
    Mcts(style="masprm", simulations=5, children=2, levels=3, rule="puct", depth=2),
    Mcts(style="masprm", simulations=12, children=2, rollout=True, c=8),
    Mcts(style="masprm", simulations=30, children=4, rollout=True, patience=5),
    Rollouts(rollouts=3),
    Rollouts(trunks=2, rollouts=2, depth=2),
    Rollouts(rollouts=5, adaptive=True, batch=2),
    Rollouts(trunks=2, rollouts=4, adaptive=True, batch=1, settles="rel_ratio"),
    Reset(),
    Reset(attempts=2, threshold=0.5, depth=4),
]
STRATEGIES = [*SETTLED, Vote(n=1), Vote(n=6), Vote(n=9, parallel=3)]
few = settings(max_examples=20)
every_strategy = pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
settled_ones = pytest.mark.parametrize("strategy", SETTLED, ids=repr)


class World:
    """Grows a tree one step at a time; `schedule` says whose turn it is."""

    def __init__(self, strategy: Strategy, tree: Tree, schedule: Random) -> None:
        self.strategy, self.tree, self.schedule = strategy, tree, schedule
        self.state = restore(tree, strategy.steps)
        self.ends = {
            node.origin.episode: i for i, node in enumerate(tree.nodes) if i
        }  # last of each
        self.dropped: set[int] = set()

    def start(self) -> list[int]:
        """Ask once; returns the episodes that are out."""
        for fork in self.strategy.ask(self.tree, self.state):
            assert fork.episode not in self.state.asked
            assert 0 <= fork.episode < self.strategy.leaves()
            assert not self.tree.nodes[fork.node].done
            assert not self.tree.nodes[fork.node].error
            assert fork.steps == self.strategy.steps
            self.state.asked[fork.episode] = fork.node
        out = self.state.asked.keys() - self.state.results.keys()
        drops = set(self.strategy.drops(self.tree, self.state))
        assert drops <= out
        self.dropped |= drops
        return sorted(out - self.dropped)

    def turn(self) -> bool:
        """Ask, then grow one step of one episode; false when the tree is grown."""
        out = self.start()
        if not out:
            return False
        self.step(self.schedule.choice(out))
        return True

    def step(self, episode: int) -> None:
        """One node; it may end the episode, with an answer and a reward or with an error."""
        last = self.ends.get(episode)
        parent = self.state.asked[episode] if last is None else last
        step = 0 if last is None else self.tree.nodes[last].origin.step + 1
        chance = Random(f"{self.tree.seed}:{episode}:{step}")
        done = chance.random() < 0.3 or step == 4 or self.tree.depth(parent) == 6
        error = "ProgramError: no" if done and chance.random() < 0.2 else ""
        node = Node(
            parent,
            tokens=ids([chance.randint(1, 3)]),
            logprobs=floats([-chance.random()]),
            origin=Origin(episode, step),
            done=done,
            answer=chance.choice(["A", "a ", "b", None]) if done and not error else None,
            error=error,
        )
        self.ends[episode] = index = self.tree.append(node)
        self.tree.column("value")[index] = chance.choice([None, -1.0, -0.5, 0.0, 0.5, 1.0])
        if done and not error:
            self.tree.column("reward")[index] = chance.choice([0.0, 0.0, 1.0, None])
        if done or step + 1 == self.strategy.steps:
            self.state.results[episode] = index


def grown(strategy: Strategy, seed: int, schedule: int = 0) -> World:
    world = World(strategy, Tree({"id": "q"}, seed=seed), Random(schedule))
    while world.turn():
        pass
    return world


def shape(tree: Tree) -> dict[tuple[int, int], tuple[int, int]]:
    """Parent of every node, both by (episode, step): the tree whatever the order of its nodes."""
    place = [(-1, -1), *((node.origin.episode, node.origin.step) for node in tree.nodes[1:])]
    return {place[i]: place[node.parent] for i, node in enumerate(tree.nodes) if i}


def test_every_strategy_is_under_the_contract() -> None:
    assert {type(strategy) for strategy in STRATEGIES} == set(strategies.values())


@every_strategy
@few
@given(seed=st.integers(0, 99), schedule=st.integers(0, 99))
def test_all_that_is_asked_is_told_or_dropped_and_then_nothing_is_asked(
    strategy: Strategy, seed: int, schedule: int
) -> None:
    world = grown(strategy, seed, schedule)
    assert world.state.results.keys() | world.dropped == world.state.asked.keys()
    assert not world.state.results.keys() & world.dropped
    assert strategy.ask(world.tree, world.state) == []
    if not world.dropped:
        assert strategy.ask(world.tree, restore(world.tree, strategy.steps)) == []


@pytest.mark.parametrize("strategy", FIXED, ids=repr)
@few
@given(seed=st.integers(0, 99), schedule=st.integers(0, 99))
def test_a_grown_tree_has_the_leaves_it_was_to_have(
    strategy: Strategy, seed: int, schedule: int
) -> None:
    world = grown(strategy, seed, schedule)
    assert len(world.tree.leaves()) == strategy.leaves()
    assert sorted(world.state.asked) == list(range(strategy.leaves()))
    assert all(world.tree.nodes[leaf].done for leaf in world.tree.leaves())


@settled_ones
@few
@given(seed=st.integers(0, 99), one=st.integers(0, 99), two=st.integers(0, 99))
def test_equal_seeds_give_equal_trees_in_whatever_order_episodes_come_back(
    strategy: Strategy, seed: int, one: int, two: int
) -> None:
    first, second = grown(strategy, seed, one), grown(strategy, seed, two)
    assert shape(first.tree) == shape(second.tree)
    assert canonical(first.tree) == canonical(second.tree)
    assert restore(first.tree, strategy.steps).asked.keys() == first.state.asked.keys()


@settled_ones
@few
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
    assert again.state == State(kept, world.state.results)
    again.start()
    assert world.state.asked.items() <= again.state.asked.items()
    while again.turn():
        pass
    assert shape(again.tree) == shape(grown(strategy, seed).tree)


@every_strategy
@few
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
    told_backwards = State(state.asked, dict(reversed(state.results.items())))
    assert forks == strategy.ask(world.tree, told_backwards)


@settled_ones
@few
@given(seed=st.integers(0, 99), schedule=st.integers(0, 99), every=st.integers(1, 4))
def test_what_a_strategy_remembers_may_be_thrown_away(
    strategy: Strategy, seed: int, schedule: int, every: int
) -> None:
    world = World(strategy, Tree({"id": "q"}, seed=seed), Random(schedule))
    turns = 0
    while world.turn():
        turns += 1
        if turns % every == 0:
            world.state.memo = None
    assert shape(world.tree) == shape(grown(strategy, seed).tree)


@settled_ones
@few
@given(seed=st.integers(0, 99), schedule=st.integers(0, 99))
def test_columns_hang_on_the_tree_alone(strategy: Strategy, seed: int, schedule: int) -> None:
    tree = grown(strategy, seed, schedule).tree
    ordered = canonical(tree)
    tree.columns |= strategy.columns(tree)
    ordered.columns |= strategy.columns(ordered)
    assert canonical(tree) == ordered
    assert set(strategy.makes) == set(strategy.columns(tree))
