"""Beam search, DVTS and particle filtering, level by level."""

from __future__ import annotations

import math
from collections import Counter
from random import Random

import pytest

from hornbeam.errors import ScoreError
from hornbeam.search import Beam, Dvts, Fork, Particle, State
from hornbeam.search.particle import particle_weights, systematic
from search.by_hand import come_back, end, step, task


def test_beam_search_by_hand() -> None:
    # SBS(2, 2). Level 0, one beam, the empty one:  1: 0.1   2: 0.9      both stay, the better first
    #            level 1:  2 -> 3: 0.2, 4: 0.7 (ends)   1 -> 5: 0.6, 6: none    4 and 5 stay
    #            level 2:  4 stays as it is   5 -> 7: 0.65 (ends), 8: 0.1     4 and 7 stay: the end
    how, tree, state = Beam(beams=2, width=2), task(), State()
    forks = how.ask(tree, state)
    assert forks == [Fork(e, 0, 1) for e in range(2)]
    come_back(tree, state, forks, 0.1, 0.9)
    forks = how.ask(tree, state)
    assert forks == [Fork(2, 2, 1), Fork(3, 2, 1), Fork(4, 1, 1), Fork(5, 1, 1)]
    come_back(tree, state, forks, 0.2, 0.7, 0.6, None, done={1})
    forks = how.ask(tree, state)
    assert forks == [Fork(6, 5, 1), Fork(7, 5, 1)]
    come_back(tree, state, forks, 0.65, 0.1, done={0})
    assert how.ask(tree, state) == []
    kept = how.columns(tree)["kept"]
    assert [i for i, one in enumerate(kept) if one] == [4, 7]


def test_all_beams_may_stand_at_the_task() -> None:
    # SBS(2, 2) with B1 B2 first steps: 1: 0.1   2: 0.9   3: -0.5   4: 0.4      2 and 4 stay
    how, tree, state = Beam(beams=2, width=2, first="all"), task(), State()
    forks = how.ask(tree, state)
    assert forks == [Fork(e, 0, 1) for e in range(4)]
    come_back(tree, state, forks, 0.1, 0.9, -0.5, 0.4)
    second = [Fork(4, 2, 1), Fork(5, 2, 1), Fork(6, 4, 1), Fork(7, 4, 1)]
    assert how.ask(tree, state) == second
    # a tree that was begun so goes on so, whatever is said now
    assert Beam(beams=2, width=2).ask(tree, State(state.asked, state.results)) == second


def test_settings_that_came_later_do_not_tell_older_trees_apart() -> None:
    was = {"column": "value", "width": 5, "depth": 32, "beams": 3}
    assert Beam(first="all").identity() == was == Beam().before().identity()
    assert Beam(first="width").before() == Beam()
    assert Beam().identity() == {**was, "first": "width"}


@pytest.mark.parametrize("beams, width", [(1, 5), (3, 5), (4, 1), (2, 3)])
def test_first_steps_and_most_episodes(beams: int, width: int) -> None:
    for first, count in (("width", width), ("all", beams * width)):
        how, tree, state = Beam(beams=beams, width=width, first=first, depth=3), task(), State()
        assert len(how.ask(tree, state)) == count
        while forks := how.ask(tree, state):
            come_back(tree, state, forks, *(0.5 for _ in forks))
        kept = min(beams, count), min(beams, min(beams, count) * width)
        assert len(state.asked) == count + sum(kept) * width
        assert max(state.asked) < how.leaves() == count + 2 * beams * width


def test_a_level_begins_when_all_of_the_one_before_have_come_back() -> None:
    how, tree, state = Beam(beams=1, width=2), task(), State()
    one, two = how.ask(tree, state)
    come_back(tree, state, [one], 0.5)
    state.asked[two.episode] = 0
    assert how.ask(tree, state) == []
    come_back(tree, state, [two], 0.6)
    assert how.ask(tree, state) == [Fork(2, 2, 1), Fork(3, 2, 1)]


def test_what_has_no_value_is_below_all_and_what_failed_is_out() -> None:
    how, tree, state = Beam(beams=2, width=2, first="all"), task(), State()
    come_back(tree, state, how.ask(tree, state)[:3], None, -1.0, None)
    state.asked[3] = 0
    state.results[3] = step(tree, 0, 3, 1.0, done=True, error="ProgramError: no")
    forks = how.ask(tree, state)
    assert [fork.node for fork in forks[:2]] == [2, 2]
    assert {fork.node for fork in forks[2:]} < {1, 3}


def test_what_failed_leaves_its_place_empty() -> None:
    how, tree, state = Beam(beams=2, width=1, first="all"), task(), State()
    come_back(tree, state, how.ask(tree, state)[:1], 0.5)
    state.asked[1] = 0
    state.results[1] = step(tree, 0, 1, 1.0, done=True, error="ProgramError: no")
    assert how.ask(tree, state) == [Fork(2, 1, 1)]
    assert how.columns(tree)["kept"] == [None, 1.0, None]


def test_a_search_of_which_all_failed_is_over() -> None:
    for how in (Beam(beams=1, width=2), Dvts(subtrees=1, width=2), Particle(particles=2)):
        tree, state = task(), State()
        for fork in how.ask(tree, state):
            state.asked[fork.episode] = 0
            state.results[fork.episode] = step(tree, 0, fork.episode, done=True, error="no")
        assert how.ask(tree, state) == []
        assert how.ask(tree, state) == []


def test_ties_are_drawn() -> None:
    stayed: Counter[int] = Counter()
    for seed in range(300):
        how, tree, state = Beam(beams=1, width=3), task(seed), State()
        come_back(tree, state, how.ask(tree, state), 0.5, 0.5, 0.5)
        stayed[how.ask(tree, state)[0].node] += 1
    assert set(stayed) == {1, 2, 3} and min(stayed.values()) > 70  # 100 each, deviation 8


def test_depth_ends_the_search() -> None:
    how, tree, state = Beam(beams=1, width=1, depth=2), task(), State()
    for _ in range(2):
        come_back(tree, state, how.ask(tree, state), 0.5)
    assert how.ask(tree, state) == []
    assert how.leaves() == 2


def test_a_value_that_is_no_number_is_told() -> None:
    how, tree, state = Beam(beams=1, width=2), task(), State()
    come_back(tree, state, how.ask(tree, state), 0.5, math.nan)
    with pytest.raises(ScoreError, match="column 'value' is NaN at episode 1, step 0"):
        how.ask(tree, state)


def test_subtrees_of_dvts_do_not_wait_for_each_other() -> None:
    # two subtrees of width 2; episodes: level * 4 + subtree * 2 + place
    how, tree, state = Dvts(subtrees=2, width=2), task(), State()
    forks = how.ask(tree, state)
    assert forks == [Fork(e, 0, 1) for e in range(4)]
    state.asked |= {2: 0, 3: 0}
    come_back(tree, state, forks[:2], 0.1, 0.2)  # 1, 2
    second = how.ask(tree, state)
    assert second == [Fork(4, 2, 1), Fork(5, 2, 1)]
    come_back(tree, state, second, 0.3, 0.9, done={1})  # 3, 4: the first subtree has ended
    assert how.ask(tree, state) == []
    come_back(tree, state, forks[2:], -0.9, -0.8)  # 5, 6: low, but of a subtree of their own
    assert how.ask(tree, state) == [Fork(6, 6, 1), Fork(7, 6, 1)]


def test_weights_of_particles_by_hand() -> None:
    # v = 0.6: p = 0.8, odds 4   v = -0.6: p = 0.2, odds 1/4   v = 0: odds 1   no value: 0
    tree = task()
    nodes = [step(tree, 0, e, v) for e, v in enumerate([0.6, -0.6, 0.0, None])]
    assert particle_weights(tree, nodes, "value", 1.0) == pytest.approx([1, 1 / 16, 1 / 4, 0])
    assert particle_weights(tree, nodes, "value", 2.0) == pytest.approx([1, 1 / 4, 1 / 2, 0])
    nodes = [nodes[3], step(tree, 0, 4, 1.0, done=True, error="no"), nodes[3]]
    assert particle_weights(tree, nodes, "value", 1.0) == [1, 0, 1]
    assert particle_weights(tree, [1, step(tree, 0, 5, 1.0)], "value", 1.0)[0] < 1e-5


def test_systematic_resampling_draws_each_as_often_as_its_share_rounded_either_way() -> None:
    class Given(Random):
        def random(self) -> float:
            return 0.5

    # shares of 4: 2, 1, 0.5, 0.5; places 0.5, 1.5, 2.5, 3.5
    assert systematic([4.0, 2.0, 1.0, 1.0], Given()) == [0, 0, 1, 3]
    for seed in range(200):
        drawn = Counter(systematic([4.0, 2.0, 1.0, 1.0, 0.0], Random(seed)))
        assert drawn[0] in (2, 3) and drawn[1] in (1, 2) and drawn[4] == 0


@pytest.mark.parametrize("resample", ["multinomial", "systematic"])
def test_particles_are_drawn_anew_by_weight_after_every_step(resample: str) -> None:
    how, drawn, many = Particle(particles=4, resample=resample), Counter[int](), 500
    for seed in range(many):
        tree, state = task(seed), State()
        come_back(tree, state, how.ask(tree, state), 0.6, -0.6, 0.0, None)  # odds 4, 1/4, 1, 0
        drawn.update(fork.node for fork in how.ask(tree, state))
    for node, odds in ((1, 4), (2, 0.25), (3, 1), (4, 0)):
        p = odds / 5.25
        assert abs(drawn[node] - 4 * many * p) <= 4 * math.sqrt(4 * many * p * (1 - p))


def test_finished_particles_stay_in_the_draw() -> None:
    how, tree, state = Particle(particles=3), task(), State()
    forks = how.ask(tree, state)
    come_back(tree, state, forks, 1.0, -1.0, -1.0, done={0})
    assert how.ask(tree, state) == []  # all three were drawn as the finished one
    assert how.columns(tree)["kept"] == [None, 3.0, None, None]


def test_a_particle_keeps_its_place_when_others_have_finished() -> None:
    how, tree, state = Particle(particles=2, resample="systematic"), task(), State()
    come_back(tree, state, how.ask(tree, state), 0.0, 0.0, done={0})
    assert how.ask(tree, state) == [Fork(3, 2, 1)]
    assert end(tree, 2, 3, "x", 0.0)
