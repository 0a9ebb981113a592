"""The search published with MASPRM: by hand, and against the algorithm as its code runs it."""

from __future__ import annotations

import math
from collections import defaultdict
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbeam.errors import RecipeError
from hornbeam.search import Fork, Mcts, State, restore, strategy
from hornbeam.search.choose import choose
from hornbeam.search.masprm import uct_of_runs
from hornbeam.tree.nodes import Tree
from search.by_hand import come_back, end, step, task
from search.decisions import Decisions, Path, grow, path_of
from search.test_optimum import worlds

few = settings(max_examples=25)


def masprm(**given) -> Mcts:
    """A search by values of two children in the published style."""
    return Mcts(style="masprm", **{"children": 2, **given})


def test_a_simulation_runs_on_to_an_answer() -> None:
    # 1.  task -> 1: 0.2   2: 0.6        2 is best; N(2) = 0 yet, so Q is its value
    #     2 -> 3: -0.4   4: 0.1 (ends both)      4 is best: 0.1 goes up 4, 2 and the task
    # 2.  c = 0.5, N(task) = 1: 1: 0.2 + 0.5 sqrt(ln 2)     = 0.616
    #                           2: (0.1 + 0.6)/2 + 0.5 sqrt(ln 2 / 2) = 0.644     to 2 again
    #     N(2) = 1:             3: -0.4 + 0.5 sqrt(ln 2)    = 0.016
    #                           4: (0.1 + 0.1)/2 + 0.5 sqrt(ln 2 / 2) = 0.394     4: no cost
    # 3.  N(task) = 2, ln 3:    1: 0.2 + 0.524   2: (0.2 + 0.6)/3 + 0.5 sqrt(ln 3 / 3) = 0.569
    #     1 -> 5: 0.3 (ends)  6: -0.9            0.3 goes up 5, 1 and the task
    how, tree, state = masprm(simulations=3, c=0.5), task(), State()
    forks = how.ask(tree, state)
    assert forks == [Fork(0, 0, 1), Fork(1, 0, 1)]
    come_back(tree, state, forks, 0.2, 0.6)
    forks = how.ask(tree, state)
    assert forks == [Fork(2, 2, 1), Fork(3, 2, 1)]
    come_back(tree, state, forks, -0.4, 0.1, done={0, 1})
    forks = how.ask(tree, state)
    assert forks == [Fork(4, 1, 1), Fork(5, 1, 1)]
    come_back(tree, state, forks, 0.3, -0.9, done={0})
    assert how.ask(tree, state) == []
    got = how.columns(tree)
    assert got["visits"] == [3, 1, 2, 0, 2, 1, 0]
    q = [0.5 / 3, (0.3 + 0.2) / 2, (0.2 + 0.6) / 3, -0.4, 0.1, 0.3, -0.9]
    assert got["q"] == pytest.approx(q)
    tree.columns |= got
    assert choose(tree, "q") == 4  # from the task down by the best mean


def test_what_an_answer_is_worth_stands_in_its_own_column() -> None:
    # the value of 2 is a virtual visit, what goes up is its outcome: Q(2) = (3 * -0.5 + 0.9) / 4
    how, tree, state = masprm(simulations=3, c=0, leaf="orm"), task(), State()
    come_back(tree, state, how.ask(tree, state), -0.9, 0.9, done={0, 1})
    tree.columns["orm"][1:] = [0.7, -0.5]
    assert how.ask(tree, state) == []
    assert how.columns(tree)["q"] == pytest.approx([-0.5, -0.9, -0.15])


def test_by_the_outcome_alone_a_step_without_value_counts_as_zero() -> None:
    how, tree, state = masprm(simulations=2, c=0, column="", leaf="orm"), task(), State()
    assert how.reads == ("orm",)
    come_back(tree, state, how.ask(tree, state), None, None, done={0, 1})
    tree.columns["orm"][1:] = [-0.5, 0.8]
    assert how.ask(tree, state) == []
    # both stand at 0, the older is taken: -0.5, (-0.5 + 0) / 2; then the other: (0.8 + 0) / 2
    assert how.columns(tree)["q"] == pytest.approx([0.15, -0.25, 0.4])


def test_new_steps_that_say_the_same_are_one() -> None:
    how, tree, state = masprm(simulations=1, children=3), task(), State()
    for fork in how.ask(tree, state):
        said = [7] if fork.episode < 2 else [8]
        state.asked[fork.episode] = 0
        state.results[fork.episode] = end(tree, 0, fork.episode, "x", 0.5, tokens=said)
    assert how.ask(tree, state) == []
    assert how.columns(tree)["visits"] == [1, 1, None, 0]


def test_a_simulation_ends_at_its_levels_and_the_best_leaf_is_grown_to_an_answer() -> None:
    how, tree, state = masprm(simulations=2, levels=2, c=0, depth=3), task(), State()
    for values in ((0.1, 0.2), (0.3, 0.4)):
        come_back(tree, state, how.ask(tree, state), *values)
    assert how.columns(tree)["visits"] == [2, 0, 2, 0, 2]
    (fork,) = how.ask(tree, state)
    assert fork == Fork(4, 4, 1)
    come_back(tree, state, [fork], 0.0, done={0})
    assert how.ask(tree, state) == how.ask(tree, restore(tree, 1)) == []


def test_by_runs_all_new_steps_that_ended_are_backed_up_at_once() -> None:
    how, tree, state = masprm(rollout=True, simulations=2, children=3, c=1), task(), State()
    come_back(tree, state, how.ask(tree, state), None, None, None)
    forks = how.ask(tree, state)
    (at,) = {fork.node for fork in forks}
    for fork, reward in zip(forks, (1.0, 0.0, None), strict=True):
        i = end(tree, at, fork.episode, "x")
        state.asked[fork.episode], state.results[fork.episode] = at, i
        tree.columns["reward"][i] = reward
    got = how.columns(tree)
    assert [got["visits"][i] for i in (0, at, 4, 5, 6)] == [3, 3, 1, 1, 1]
    assert [got["q"][i] for i in (0, at, 4, 5, 6)] == pytest.approx([-1 / 3, -1 / 3, 1, -1, -1])
    others = [i for i in (1, 2, 3) if i != at]
    assert [got["visits"][i] for i in others] == [0, 0]  # known of, not tried: no Q
    assert [got["q"][i] for i in others] == [None, None]
    # ln 3 / 1 against ln 3 / 3, and 0 against -1/3: the older of those not tried is next
    assert {fork.node for fork in how.ask(tree, state)} == {others[0]}


def test_uct_of_runs_by_hand() -> None:
    # N = 7: ln 7 = 1.9459      not tried: N taken as 1
    assert uct_of_runs([0.5, 0.0], [4, 0], 7, 8.0) == pytest.approx(
        [0.5 + 8 * 0.6975, 8 * 1.3950], abs=1e-3
    )
    assert uct_of_runs([0.5, 0.0], [0, 0], 0, 8.0) == [0.5, 0.0]


def patient(*rewards: float, **given) -> int:
    """After how many runs of one step a search of patience 3 stops."""
    how = masprm(rollout=True, simulations=64, children=1, patience=3, levels=64, **given)
    tree, state = task(), State()
    result = iter(rewards)

    def simulation() -> bool:
        forks = how.ask(tree, state)
        for fork in forks:
            state.asked[fork.episode] = fork.node
            state.results[fork.episode] = i = step(
                tree, fork.node, fork.episode, done=True, answer=1
            )
            tree.columns["reward"][i] = next(result)
        return bool(forks)

    while simulation():
        pass
    return int(how.columns(tree)["visits"][0])


def test_a_root_value_near_its_bounds_stays_put_from_the_first() -> None:
    assert patient(1.0) == 3  # 1 1 1
    assert patient(0.0) == 3
    assert patient(0.98) == 3  # 0.96 is within 0.05 of 1
    assert patient(0.97) == 4  # 0.94 is not: the first sets the value, three stay with it


def test_moving_by_just_the_tolerance_is_staying_put() -> None:
    # one level of two ends, +0.5 and -0.5; c = 0, so after both it is +0.5 that is visited:
    # root values 0 | 0.5/3 = 1/6 | 1/4 ...: each within 1/4 of the first, the third by just that
    def stopped(tolerance: float) -> int:
        how = masprm(rollout=True, simulations=64, patience=2, c=0, tolerance=tolerance)
        tree, state = task(), State()
        for fork, reward in zip(how.ask(tree, state), (0.75, 0.25), strict=True):
            state.asked[fork.episode] = 0
            state.results[fork.episode] = i = end(tree, 0, fork.episode, "x")
            tree.columns["reward"][i] = reward
        assert how.ask(tree, state) == []
        return int(how.columns(tree)["visits"][0])

    assert stopped(0.25) == 4  # two at once, and two that stay put
    assert stopped(0.24) == 6  # 1/4 is where it moves to; 0.3 and 1/3 stay


def by_values(world: Decisions, seed: int, many: int, c: float, value) -> dict:
    """N and Q of every path: a simulation goes down to an answer, `width` steps at a new level."""
    n, w = defaultdict[Path, int](int), defaultdict[Path, float](float)
    children: dict[Path, list[Path]] = {}

    def q(a: Path) -> float:
        return (w[a] + value(a)) / (n[a] + 1)

    for _ in range(many):
        path: list[Path] = [()]
        while len(at := path[-1]) < world.depth:
            if at not in children:
                offset = Random(f"{seed}:{at}").randrange(world.width)
                children[at] = [(*at, (k + offset) % world.width) for k in range(world.width)]
            spread = math.log(n[at] + 1)
            below = children[at]
            path.append(max(below, key=lambda a: q(a) + c * math.sqrt(spread / (n[a] + 1))))
        for a in path:
            n[a] += 1
            w[a] += value(path[-1])
    known = [a for below in children.values() for a in below]
    return {(): (n[()], w[()] / n[()])} | {a: (n[a], q(a)) for a in known}


def by_runs(world: Decisions, seed: int, many: int, c: float) -> dict:
    """N and Q of every path: ends of a new level are all backed up, one step of others is drawn."""
    n, w = defaultdict[Path, int](int), defaultdict[Path, float](float)
    children: dict[Path, list[Path]] = {}

    def back_up(path: list[Path]) -> None:
        for a in path:
            n[a] += 1
            w[a] += 2 * world.earns[path[-1]] - 1

    for number in range(many):
        path: list[Path] = [()]
        while len(at := path[-1]) < world.depth:
            if at in children:
                spread = math.log(max(n[at], 1))
                path.append(
                    max(
                        children[at],
                        key=lambda a: (
                            (w[a] / n[a] if n[a] else 0.0) + c * math.sqrt(spread / max(n[a], 1))
                        ),
                    )
                )
                continue
            offset = Random(f"{seed}:{at}").randrange(world.width)
            children[at] = [(*at, (k + offset) % world.width) for k in range(world.width)]
            drawn = Random(f"{seed}:masprm:{number}:{len(path)}").choice(children[at])
            if len(drawn) == world.depth:
                for other in children[at]:
                    if other != drawn:
                        back_up([*path, other])
            path.append(drawn)
        back_up(path)
    known = [(), *(a for below in children.values() for a in below)]
    return {a: (n[a], w[a] / n[a] if n[a] else None) for a in known}


def figures(tree: Tree) -> dict:
    visits, q = tree.columns["visits"], tree.columns["q"]
    return {path_of(tree, i): (visits[i], q[i]) for i in range(len(tree))}


@few
@given(world=worlds, seed=st.integers(0, 99), many=st.integers(1, 40), c=st.floats(0, 3))
def test_by_values_it_is_the_published_algorithm(
    world: Decisions, seed: int, many: int, c: float
) -> None:
    def value(path: Path) -> float:
        return Random(f"{seed}:{path}").uniform(-1, 1)

    how = masprm(simulations=many, children=world.width, c=c)
    tree, _ = grow(world, how, seed=seed, value=value)
    assert figures(tree) == by_values(world, seed, many, c, value)


@few
@given(world=worlds, seed=st.integers(0, 99), many=st.integers(1, 60), c=st.floats(0, 9))
def test_by_runs_it_is_the_published_algorithm(
    world: Decisions, seed: int, many: int, c: float
) -> None:
    how = masprm(rollout=True, simulations=many, children=world.width, c=c)
    tree, _ = grow(world, how, seed=seed)
    assert figures(tree) == by_runs(world, seed, many, c)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"style": "masprm", "parallel": 2}, "knows parallel = 1 only"),
        ({"style": "masprm", "widen": 0.5}, "knows widen = 0.0 only"),
        ({"style": "masprm", "expand": "one"}, "knows expand = 'all' only"),
        ({"style": "masprm", "merge": True}, "knows merge = False only"),
        ({"style": "masprm", "virtual_visit": False}, "knows virtual_visit = True only"),
        ({"style": "masprm", "rollout": True, "rule": "puct"}, 'by rule "uct" only'),
        ({"style": "masprm", "column": ""}, "by a leaf alone"),
        ({"column": "", "leaf": "orm"}, "by a leaf alone"),
        ({"levels": 3}, 'levels are those of style "masprm"'),
        ({"style": "paper"}, "style = 'paper'"),
    ],
)
def test_settings_that_the_style_does_not_know_are_refused(given: dict, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        strategy("mcts", **given)


def test_settings_that_came_later_do_not_tell_older_trees_apart() -> None:
    assert not {"style", "levels"} & Mcts().identity().keys()
    assert masprm().identity()["style"] == "masprm"
