"""Monte-Carlo tree search by hand: both rules, back-up, virtual visits, the window, twins."""

from __future__ import annotations

import math

import pytest

from hornbeam.errors import RecipeError, ScoreError
from hornbeam.search import Fork, Mcts, State, restore, strategy
from hornbeam.search.uct import puct, shares, uct
from hornbeam.search.visits import Sums
from hornbeam.tree.nodes import Call
from search.by_hand import come_back, end, step, task


def runs(how: Mcts, *rewards: float | None, length: int = 2, twins: bool = False):
    """A search by runs of this many steps, outcomes as given; how many runs it took."""
    tree, state, given = task(), State(), iter(rewards)
    while forks := how.ask(tree, state):
        for fork in forks:
            state.asked[fork.episode] = at = fork.node
            depth = tree.depth(at)
            for k in range(length - depth):
                said = [7] if twins else [fork.episode, k]
                ends = {"done": True, "answer": "x"} if depth + k + 1 == length else {}
                at = step(tree, at, fork.episode, at=k, tokens=said, **ends)
            tree.columns["reward"][at] = next(given)
            state.results[fork.episode] = at
    return tree, state


def test_uct_by_hand() -> None:
    # sum N = 7: ln 8 = 2.0794.  Q + 8 sqrt(2.0794 / (1 + N))
    assert uct([0.5, -1.0, 1.0], [4, 2, 1], 8.0) == pytest.approx(
        [0.5 + 8 * 0.644888, -1.0 + 8 * 0.832547, 1.0 + 8 * 1.019657], abs=1e-4
    )
    assert uct([0.25, -0.5], [0, 0], 8.0) == [0.25, -0.5]


def test_puct_by_hand() -> None:
    # sqrt(sum N) = 3.  Q + 2 P 3 / (1 + N)
    got = puct([0.5, 0.0, -1.0], [6, 3, 0], [0.5, 0.2, 0.3], 2.0)
    assert got == pytest.approx([0.5 + 3 / 7, 1.2 / 4, -1.0 + 1.8])
    assert shares([3.0, 1.0]) == [0.75, 0.25]
    assert shares([3.0, None]) == shares([0.0, 0.0]) == [0.5, 0.5]


def test_runs_are_backed_up_by_hand() -> None:
    # two children a node, two steps a run, c = 0: the better mean, the older of equals
    #   run 0: 1-2, reward 1      run 1: 3-4, reward 0     the task has its two children
    #   run 2: to 1 (Q = 1), which has one child: 5, reward 0       Q(1) = 0
    #   run 3: to 1 (0 against -1), which is full: 2 (Q = 1) has ended and is visited again
    #   runs 4, 5: the same
    tree, state = runs(Mcts(rollout=True, simulations=6, children=2, c=0), 1.0, 0.0, 0.0)
    assert [node.parent for node in tree.nodes] == [-1, 0, 1, 0, 3, 1]
    columns = Mcts(rollout=True, simulations=6, children=2, c=0).columns(tree)
    assert columns["visits"] == [6, 5, 4, 1, 1, 1]
    assert columns["q"] == pytest.approx([2 / 6, 3 / 5, 1, -1, -1, -1])
    assert len(state.asked) == 3  # three of six simulations were free of charge


def test_a_reward_is_taken_into_0_to_1_and_none_counts_as_lost() -> None:
    how = Mcts(rollout=True, simulations=4, children=4)
    tree, _ = runs(how, 1.2, 0.75, None, -0.2, length=1)
    assert how.columns(tree)["q"] == [-0.125, 1.0, 0.5, -1.0, -1.0]


def test_new_children_are_sampled_together_and_their_value_is_one_virtual_visit() -> None:
    #  1. task -> 1: 0.2   2: 0.6   3: -0.4      2 is visited: N = 1, W = 0.6, Q = 1.2 / 2
    #  2. c = 0: to 2, which has none yet -> 4: -0.6   5: 0.0   6: -0.2      5 is visited, outcome 0
    #     Q(2) = (0.6 + 0 + 0.6) / 3 = 0.4       Q(5) = 0
    #  3. to 2 again, then to 5
    how, tree, state = Mcts(simulations=3, c=0, depth=0), task(), State()
    forks = how.ask(tree, state)
    assert forks == [Fork(0, 0, 1), Fork(1, 0, 1), Fork(2, 0, 1)]
    come_back(tree, state, forks, 0.2, 0.6, -0.4)
    forks = how.ask(tree, state)
    assert forks == [Fork(3, 2, 1), Fork(4, 2, 1), Fork(5, 2, 1)]
    come_back(tree, state, forks, -0.6, 0.0, -0.2)
    got = how.columns(tree)
    assert got["visits"] == [2, 0, 2, 0, 0, 1, 0]
    assert got["q"] == pytest.approx([0.3, 0.2, 0.4, -0.4, -0.6, 0.0, -0.2])
    assert [fork.node for fork in how.ask(tree, state)] == [5, 5, 5]
    plain = how.model_copy(update={"virtual_visit": False})
    assert plain.columns(tree)["q"] == pytest.approx([0.3, 0.2, 0.3, -0.4, -0.6, 0.0, -0.2])


def test_exploration_goes_to_the_child_that_was_not_visited() -> None:
    # after one visit of 1 (Q = 0.3) and none of 2 (Q = 0.2): sqrt(ln 2 / 2) = 0.589, sqrt(ln 2) =
    # 0.833, so 2 is next as soon as 0.244 c > 0.1
    for c, node in ((0.4, 1), (0.42, 2)):
        how, tree, state = Mcts(simulations=2, children=2, c=c), task(), State()
        come_back(tree, state, how.ask(tree, state), 0.3, 0.2)
        assert how.ask(tree, state)[0].node == node


def test_the_prior_weighs_exploration() -> None:
    # Q + c P sqrt(1) / (1 + N): 0.3 + 0.1 P_1 / 2 against 0.2 + 0.1 P_2 / 1 ... with c = 1
    for prior, node in ((None, 2), ([None, 9.0, 1.0], 1), ([None, 1.0, 9.0], 2)):
        how = Mcts(simulations=2, children=2, c=1, rule="puct", prior="prior")
        tree, state = task(), State()
        come_back(tree, state, how.ask(tree, state), 0.3, 0.2)
        if prior is not None:
            tree.columns["prior"] = prior
        assert how.ask(tree, state)[0].node == node


def test_children_by_progressive_widening() -> None:
    # floor(1 * N ** 0.5), one at a time: the task has 1 child from the start, 2 at 4 visits, 3 at 9
    how = Mcts(simulations=9, children=1, widen=0.5, expand="one", c=0, depth=0)
    tree, state = task(), State()
    while forks := how.ask(tree, state):
        come_back(tree, state, forks, -len(tree) / 100)
    assert [e for e, node in state.asked.items() if node == 0] == [0, 4]
    state = restore(tree, 1)
    assert how.model_copy(update={"simulations": 10}).ask(tree, state)[0].node == 0


def test_an_end_is_worth_what_stands_in_its_own_column() -> None:
    how, tree, state = Mcts(simulations=5, children=2, c=0, leaf="orm"), task(), State()
    come_back(tree, state, how.ask(tree, state), 0.3, 0.9, done={1})
    tree.columns["orm"][2] = -0.5
    assert how.ask(tree, state)[0].node == 1
    tree.columns["orm"][2] = 0.5
    state = State(state.asked, state.results)
    assert how.ask(tree, state) == []  # 2 is the best and has ended: four visits free of charge
    assert how.columns(tree)["visits"] == [5, 0, 5]


def test_a_failed_step_counts_as_lost_and_is_never_grown() -> None:
    how, tree, state = Mcts(simulations=2, children=1, c=0), task(), State()
    (fork,) = how.ask(tree, state)
    state.asked[0] = fork.node
    state.results[0] = step(tree, 0, 0, 0.9, error="EngineError: no")
    (fork,) = how.ask(tree, state)  # what is left is to find an answer, from the task
    assert fork == Fork(1, 0, 1)
    assert how.columns(tree) == {"visits": [2, 2], "q": [-1, -1]}


@pytest.mark.parametrize("style", ["hornbeam", "masprm"])
def test_what_failed_is_below_log_likelihoods_too(style: str) -> None:
    how = Mcts(simulations=4, children=3, c=0, column="likelihood", style=style, levels=32)
    tree, state = task(), State()
    tree.column("likelihood")
    for fork, value in zip(how.ask(tree, state), (None, -5.0, -3.0), strict=True):
        state.asked[fork.episode] = 0
        ends = {"error": "EngineError: no"} if value is None else {"answer": 1}
        state.results[fork.episode] = i = step(tree, 0, fork.episode, done=True, **ends)
        tree.columns["likelihood"][i] = value
    assert how.ask(tree, state) == []
    got = how.columns(tree)
    assert got["visits"] == [4, 0, 0, 4] and got["q"] == [-3, -5, -5, -3]


def test_the_best_leaf_is_grown_to_an_answer_where_none_was_reached() -> None:
    how, tree, state = Mcts(simulations=1, children=2, depth=3), task(), State()
    come_back(tree, state, how.ask(tree, state), 0.1, 0.7)
    come_back(tree, state, how.ask(tree, state), 0.0)
    assert [node.parent for node in tree.nodes] == [-1, 0, 0, 2]
    again = restore(tree, 1)
    assert how.ask(tree, state) == how.ask(tree, again) == [Fork(3, 3, 1)]
    come_back(tree, state, how.ask(tree, state), 0.0, done={0})
    assert how.ask(tree, state) == []
    assert how.columns(tree)["visits"] == [1, 0, 1, None, None]


def test_where_an_answer_was_reached_the_search_ends_with_its_simulations() -> None:
    how, tree, state = Mcts(simulations=1, children=2), task(), State()
    come_back(tree, state, how.ask(tree, state), 0.9, 0.3, done={1})
    assert how.ask(tree, state) == []


def test_a_window_counts_what_is_out_as_lost() -> None:
    # runs 0, 1, 2 leave the task, which may have three children; they earn 1, 0.5, 0
    #   0 is in: its first step 3 has Q = 1, so run 3 leaves 3
    #   1 is in: its first step 5 has Q = 0, and Q(3) = (1 - 1) / 2 = 0 while run 3 is out: older
    #   2 is in: Q(3) = (1 - 2) / 3 while runs 3 and 4 are out, so run 5 leaves 5
    how = Mcts(rollout=True, simulations=9, children=3, c=0, parallel=3)
    tree, state = task(), State()
    forks = how.ask(tree, state)
    assert forks == [Fork(0, 0), Fork(1, 0), Fork(2, 0)]
    for e, reward in ((2, 0.0), (0, 1.0)):  # the third and the first come back
        state.asked[e] = 0
        first = step(tree, 0, e)
        state.results[e] = end(tree, first, e, "x", at=1)
        tree.columns["reward"][state.results[e]] = reward
    state.asked[1] = 0
    assert how.ask(tree, state) == [Fork(3, 3)]  # 0 is taken in, 2 has to wait for 1
    state.asked[3] = 3
    assert how.ask(tree, state) == []
    first = step(tree, 0, 1)
    state.results[1] = end(tree, first, 1, "x", at=1)
    tree.columns["reward"][state.results[1]] = 0.5
    assert [fork.node for fork in how.ask(tree, state)] == [3, 5]


def test_visits_in_flight_count_in_both_terms_of_the_rule() -> None:
    # 1: V 0.9, N 1, and one more out: (0.9 + 0.9 - 1) / 3 + 3 sqrt(ln 3 / 3) = 2.08
    # 2: V -0.9: -0.9 + 3 sqrt(ln 3) = 2.24
    how, tree, state = Mcts(simulations=3, children=2, c=3, parallel=2), task(), State()
    come_back(tree, state, how.ask(tree, state), 0.9, -0.9)
    assert [fork.node for fork in how.ask(tree, state)] == [1, 1, 2, 2]


def test_visits_in_flight_make_room_for_children() -> None:
    # as many children as visits; one of the task is known. The window: to 1; with that the task
    # has 2 visits, and with the next one 3
    how = Mcts(children=1, widen=1, expand="one", c=0, parallel=3)
    tree, state = task(), State()
    come_back(tree, state, how.ask(tree, state), 0.5)
    assert [fork.node for fork in how.ask(tree, state)] == [1, 0, 0]


def test_where_all_children_are_out_the_search_waits() -> None:
    how = Mcts(rollout=True, simulations=9, children=2, parallel=5)
    assert how.ask(task(), State()) == [Fork(0, 0), Fork(1, 0)]


def test_twins_are_one_child() -> None:
    how = Mcts(rollout=True, simulations=4, children=2, c=0, merge=True)
    tree, _ = runs(how, 1.0, 1.0, 0.0, 1.0, twins=True)
    # runs 0 and 1 say the same: nodes 1-2 and 3-4; both have sampled a step behind node 1, which
    # is full, and its only end is visited again
    assert len(tree) == 5
    got = how.columns(tree)
    assert got["visits"] == [4, 4, 4, None, None]
    assert got["q"] == [1, 1, 1, None, None]


def test_twins_say_the_same_and_hear_the_same() -> None:
    tree, sums = task(), Sums()
    common = {"agent": "solver", "tokens": [5, 6], "calls": (Call("add", {"a": 1}, 2),)}
    others = [
        {},
        {"agent": "reader"},
        {"tokens": [5, 7]},
        {"calls": (Call("add", {"a": 1}, 3),)},
        {"done": True},
        {"scope": "main/1"},
    ]
    nodes = [step(tree, 0, e, **{**common, **other}) for e, other in enumerate(others)]
    assert [sums.add(tree, 0, i, merge=True) for i in nodes] == nodes
    assert sums.add(tree, 0, step(tree, 0, 9, **common), merge=True) == nodes[0]
    assert sums.children[0] == nodes
    again = step(tree, 0, 10, **common)
    assert sums.add(tree, 0, again, merge=False) == again


def test_the_search_stops_when_the_root_value_stays_put() -> None:
    how = Mcts(rollout=True, simulations=64, children=64, patience=5, tolerance=0.3)
    _, state = runs(how, *[1.0] * 64, length=1)
    assert len(state.asked) == 6  # the first sets the value, five stay with it
    _, state = runs(how, 1.0, 1.0, 1.0, 0.0, 1.0, *[1.0] * 64, length=1)
    # after runs 0..: 1 1 1 | 0.5 | 0.6 0.67 0.71 0.75 0.78
    assert len(state.asked) == 9
    _, state = runs(how, 1.0, *[0.0] * 64, length=1)
    # 1 | 0 | -0.33 | -0.5 -0.6 | -0.67 | -0.71 -0.75 -0.78 -0.8 -0.82: drifting is not staying
    assert len(state.asked) == 11


def test_settings_that_say_nothing_are_refused() -> None:
    with pytest.raises(RecipeError, match='a prior is read by rule "puct" only'):
        strategy("mcts", prior="p")
    with pytest.raises(RecipeError, match="leave leaf out"):
        strategy("mcts", rollout=True, leaf="orm")


def test_a_value_that_is_no_number_is_told() -> None:
    how, tree, state = Mcts(), task(), State()
    come_back(tree, state, how.ask(tree, state), 0.5, math.nan, 0.1)
    with pytest.raises(ScoreError, match="column 'value' is NaN at episode 1, step 0"):
        how.ask(tree, state)
