"""Strategies in worlds that can be enumerated: with an oracle the optimum, without one chance."""

from __future__ import annotations

import math
from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbeam.search import Beam, Dvts, Independent, Mcts, Particle, Strategy
from hornbeam.search.choose import choose
from hornbeam.tree.nodes import Tree
from search.decisions import Decisions, Path, dealt, drawn, grow, path_of

few = settings(max_examples=25)
worlds = st.tuples(st.integers(2, 3), st.integers(1, 3)).flatmap(
    lambda size: st.lists(
        st.sampled_from([0.0, 0.0, 0.5, 1.0]),
        min_size=size[0] ** size[1],
        max_size=size[0] ** size[1],
    ).map(lambda rewards: Decisions(size[0], rewards))
)

GUIDED = [
    (Beam(beams=1, width=3), "kept"),
    (Beam(beams=3, width=3), "kept"),
    (Beam(beams=2, width=3), "best"),
    (Dvts(subtrees=2, width=3), "kept"),
    (Particle(particles=60, temperature=0.1), "kept"),
    (Particle(particles=60, temperature=0.1, resample="systematic"), "kept"),
    (Mcts(simulations=60, c=0.5), "best"),
    (Mcts(simulations=60, c=0.5, virtual_visit=False, rule="puct"), "q"),
    (Mcts(simulations=90, c=0.5, expand="one", parallel=3, merge=True), "best"),
    (Mcts(simulations=3, c=0), "q"),
    (Mcts(style="masprm", simulations=1), "q"),
    (Mcts(style="masprm", simulations=9, c=0.5, rule="puct"), "best"),
]


@pytest.mark.parametrize("strategy, chooser", GUIDED, ids=repr)
@few
@given(world=worlds, seed=st.integers(0, 99))
def test_with_an_oracle_every_guided_strategy_finds_the_optimum(
    strategy: Strategy, chooser: str, world: Decisions, seed: int
) -> None:
    act = drawn if isinstance(strategy, Particle) else dealt
    tree, _ = grow(world, strategy, seed=seed, value=world.oracle, act=act)
    leaf = choose(tree, chooser)
    assert leaf is not None and tree.columns["reward"][leaf] == world.most


@settings(max_examples=8)
@given(world=worlds, seed=st.integers(0, 99))
def test_with_an_oracle_best_of_n_finds_the_optimum(world: Decisions, seed: int) -> None:
    tree, _ = grow(world, Independent(n=900), seed=seed, value=world.oracle, act=drawn)
    leaf = choose(tree, "best")
    assert leaf is not None and tree.columns["reward"][leaf] == world.most


@pytest.mark.parametrize("chooser", ["q", "visits"])
@pytest.mark.parametrize("parallel", [1, 4])
@settings(max_examples=12)
@given(world=worlds, seed=st.integers(0, 9))
def test_search_by_runs_converges_to_the_optimum(
    chooser: str, parallel: int, world: Decisions, seed: int
) -> None:
    many = 1000
    how = Mcts(rollout=True, simulations=many, children=world.width, c=2, parallel=parallel)
    tree, _ = grow(world, how, seed=seed)
    leaf = choose(tree, chooser)
    assert leaf is not None and tree.columns["reward"][leaf] == world.most
    assert len(tree.leaves()) <= world.width**world.depth  # an ended episode is never grown again
    _visits_add_up(tree, many)


def textbook(world: Decisions, seed: int, many: int, c: float) -> dict[Path, tuple[int, float]]:
    """N and Q of every path by the sequential algorithm, written down as it is told."""
    n, w = Counter[Path](), Counter[Path]()
    children: dict[Path, list[Path]] = {}
    for _ in range(many):
        at: Path = ()
        while len(at) < world.depth and len(children.get(at, [])) == world.width:
            below = children[at]
            log = math.log1p(sum(n[b] for b in below))
            at = max(below, key=lambda a: w[a] / n[a] + c * math.sqrt(log / (1 + n[a])))
        while len(at) < world.depth:
            below = children.setdefault(at, [])
            offset = Random(f"{seed}:{at}").randrange(world.width)
            at = (*at, (len(below) + offset) % world.width)
            below.append(at)
        for k in range(world.depth + 1):
            n[at[:k]] += 1
            w[at[:k]] += 2 * world.earns[at] - 1
    return {path: (n[path], w[path] / n[path]) for path in n}


@few
@given(world=worlds, seed=st.integers(0, 99), many=st.integers(1, 80), c=st.floats(0, 9))
def test_one_at_a_time_it_is_the_sequential_algorithm(
    world: Decisions, seed: int, many: int, c: float
) -> None:
    how = Mcts(rollout=True, simulations=many, children=world.width, c=c)
    tree, _ = grow(world, how, seed=seed)
    visits, q = tree.columns["visits"], tree.columns["q"]
    got = {path_of(tree, i): (visits[i], q[i]) for i in range(len(tree))}
    assert got == textbook(world, seed, many, c)


def _visits_add_up(tree: Tree, many: int) -> None:
    """Every simulation that passed a node went on to a child, or the episode had ended there."""
    visits = tree.columns["visits"]
    assert visits[0] == many
    for i, node in enumerate(tree.nodes):
        if not node.done:
            assert visits[i] == sum(visits[c] or 0 for c in tree.children(i))


@few
@given(world=worlds, seed=st.integers(0, 99), parallel=st.integers(1, 5), merge=st.booleans())
def test_visits_sum_to_simulations_by_values(
    world: Decisions, seed: int, parallel: int, merge: bool
) -> None:
    how = Mcts(simulations=37, parallel=parallel, merge=merge, c=3)
    tree, state = grow(world, how, seed=seed, value=world.oracle)
    visits = tree.columns["visits"]
    assert visits[0] == 37 == sum(visits[c] or 0 for c in tree.children(0))
    assert not any(tree.children(i) for i, node in enumerate(tree.nodes) if node.done)
    assert state.asked.keys() == state.results.keys()


@few
@given(world=worlds, seed=st.integers(0, 99), beams=st.integers(1, 4), width=st.integers(1, 4))
def test_beam_search_is_the_published_algorithm(
    world: Decisions, seed: int, beams: int, width: int
) -> None:
    """One empty beam; every beam samples B2 steps, the B1 of highest value of all of them stay."""

    def value(path: Path) -> float:
        return Random(f"{seed}:{path}").uniform(-1, 1)

    width = min(width, world.width)  # so that steps of one node differ
    kept, asked = [()], 0
    for _ in range(world.depth):
        new = []
        for path in kept:
            offset = Random(f"{seed}:{path}").randrange(world.width)
            new += [(*path, (k + offset) % world.width) for k in range(width)]
        asked += len(new)
        kept = sorted(new, key=value, reverse=True)[:beams]
    tree, state = grow(world, Beam(beams=beams, width=width), seed=seed, value=value)
    stayed = [i for i, one in enumerate(tree.columns["kept"]) if one]
    assert {path_of(tree, i) for i in stayed} == set(kept)
    assert len(state.asked) == asked
    leaf = choose(tree, "kept")
    assert leaf is not None and path_of(tree, leaf) == kept[0]


def test_with_equal_values_beam_search_is_a_draw_from_the_policy() -> None:
    # two decisions, 0 with 2/3 and 1 with 1/3: answers 00 01 10 11 with 4/9 2/9 2/9 1/9
    world, many = Decisions(2, [0, 0, 0, 1]), 1000
    expected = {"00": 4 / 9, "01": 2 / 9, "10": 2 / 9, "11": 1 / 9}
    strategies = (Beam(beams=1, width=3), Beam(beams=2, width=2), Dvts(subtrees=1, width=2))
    for how in (*strategies, Particle(particles=3)):
        said: Counter[str] = Counter()
        for seed in range(many):
            tree, _ = grow(world, how, seed=seed, value=lambda path: 0.25, act=drawn)
            leaf = choose(tree, "kept")
            assert leaf is not None
            said[tree.nodes[leaf].answer] += 1
        for answer, p in expected.items():  # four standard deviations
            assert abs(said[answer] - many * p) < 4 * math.sqrt(many * p * (1 - p)), (how, said)


def test_with_equal_values_best_of_n_is_pass_at_1() -> None:
    world, many = Decisions(2, [0, 0, 0, 1]), 1000
    solved = 0.0
    for seed in range(many):
        tree, _ = grow(world, Independent(n=4), seed=seed, value=lambda path: 0.25, act=drawn)
        leaf = choose(tree, "best")
        assert leaf == choose(tree, "first")
        solved += tree.columns["reward"][leaf]
    assert abs(solved / many - 1 / 9) < 4 * math.sqrt(1 / 9 * 8 / 9 / many)
