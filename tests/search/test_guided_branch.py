"""Where branches leave a tree by what a guide says of its steps; by hand."""

import math
from collections import Counter
from dataclasses import replace

import pytest

from hornbeam.errors import RecipeError, ScoreError
from hornbeam.search import Branch, restore, strategy
from hornbeam.search.spread import branch_tokens, branches
from hornbeam.tree.nodes import Node, Origin, Tree, ids

from .test_strategies import asked, branch, chains

MIXED = {"pick": "predicted_mixed"}


def told(values, *lengths, rewards=(), seed=0):
    """Chains with these values at nodes 1, 2, ... and rewards at the chains' ends."""
    tree = chains(*lengths, seed=seed)
    tree.columns["value"] = [None, *values]
    ends = [i for i, node in enumerate(tree.nodes) if node.done]
    reward = tree.column("reward")
    for end, value in zip(ends, rewards):
        reward[end] = value
    return tree


def test_a_guide_takes_the_highest_values_whatever_their_scale():
    tree = told([-7.0, -2.5, None, -2.5 + 1e-9, 99.0], 5)  # the last ends the run
    assert asked(Branch(trunks=1, nodes=4, pick="guide"), tree) == [4, 2, 1, 3]


def test_another_column_steers():
    tree = told([1.0, 0.0, 0.0], 3)
    tree.columns["judge"] = [None, 0.0, 1.0, 0.0]
    assert asked(Branch(trunks=1, nodes=1, pick="guide", column="judge"), tree) == [2]
    assert Branch(pick="guide", column="judge").reads == ("judge",) and Branch().reads == ()


def test_predicted_mixed_takes_what_is_nearest_to_one_half():
    # v = (value + 1) / 2: 0.9, 0.5, 0.2, and V = (2 v + r) / 3 with the one leaf below all of them
    tree = told([0.8, 0.0, -0.6, 0.0], 4)
    assert asked(Branch(trunks=1, nodes=3, **MIXED), tree) == [2, 3, 1]  # V(1 - V): .25 .16 .09
    tree.column("reward")[4] = 1.0  # V: 2.8/3, 2/3, 1.4/3: .06 .22 .249
    assert asked(Branch(trunks=1, nodes=3, **MIXED), tree) == [3, 2, 1]
    tree.column("reward")[4] = 0.0  # V: 0.6, 1/3, 0.4/3: .24 .22 .12
    assert asked(Branch(trunks=1, nodes=3, **MIXED), tree) == [1, 2, 3]
    # with more weight of its own the prediction stands: V = (8 v + 0) / 9: .8, .44, .18
    assert asked(Branch(trunks=1, nodes=3, weight=8.0, **MIXED), tree) == [2, 1, 3]


def test_steps_without_a_value_go_by_their_leaves():
    tree = told([None, None, None], 3, rewards=[1.0])
    branch(tree, 2, 1)
    branch(tree, 1, 2)
    tree.columns["reward"] = [None, None, None, 1.0, 0.0, 1.0]  # V(2) = 1/2, V(1) = 2/3
    assert asked(Branch(trunks=1, nodes=2, rounds=2, **MIXED), tree) == [2, 1]


@pytest.mark.parametrize("pick", ["guide", "predicted_mixed"])
def test_where_nothing_is_known_the_draw_is_uniform(pick):
    how = Branch(trunks=1, nodes=1, pick=pick)
    got = Counter(asked(how, told([None] * 3, 3, seed=seed))[0] for seed in range(100))
    assert set(got) == {1, 2} and min(got.values()) > 25
    got = Counter(asked(how, told([0.3] * 3, 3, seed=seed))[0] for seed in range(100))
    assert set(got) == {1, 2} and min(got.values()) > 25  # ties


STOP = {"trunks": 3, "nodes": 2, "stop": 0.1, **MIXED}


def test_hopeless_and_solved_trunks_leave_their_branches_to_others():
    # trunk 0: 1 2 [3] solved: v = .98, r = 1: V = .987    trunk 1: 4 5 [6]: v = .5, r = 0: 1/3
    # trunk 2: 7 8 [9] hopeless: v = .02, r = 0: V = .013
    values = [0.96, 0.96, None, 0.0, 0.0, None, -0.96, -0.96, None]
    tree = told(values, 3, 3, 3, rewards=[1.0, 0.0, 0.0])
    got = asked(Branch(**STOP), tree)
    assert len(got) == 6 and Counter(got) == {4: 3, 5: 3}
    forks = Branch(**STOP).ask(tree, restore(tree))
    assert [fork.episode for fork in forks] == [3, 4, 5, 6, 7, 8]
    # a solved trunk of which one step is open goes on; the steps of it nearest to 1/2 first
    tree.columns["value"][2] = -0.4
    assert Counter(asked(Branch(**STOP), tree)[:2]) == {1: 1, 2: 1}
    # one that the guide took for solved and that failed is neither
    tree.columns["value"][2] = 0.96
    tree.column("reward")[3] = 0.0  # V = 1.96 / 3
    assert set(asked(Branch(**STOP), tree)[:2]) == {1, 2}


def test_where_every_trunk_is_stopped_the_tree_is_grown():
    values = [0.96, 0.96, None, -0.96, -0.96, None]
    tree = told(values, 3, 3, rewards=[1.0, 0.0])
    how = Branch(**{**STOP, "trunks": 2})
    state = restore(tree)
    assert how.ask(tree, state) == [] and how.leaves() == 6
    assert len(Branch(**{**STOP, "trunks": 2, "stop": 0.0}).ask(tree, state)) == 4


def test_a_trunk_of_which_nothing_is_known_is_not_stopped():
    tree = told([None] * 3 + [0.96, 0.96, None], 3, 3)
    tree.column("reward")[6] = 1.0
    assert set(asked(Branch(**{**STOP, "trunks": 2}), tree)) == {1, 2}
    one = told([0.96], 1, rewards=[1.0])  # nor one of a single step: it grows afresh
    assert asked(Branch(**{**STOP, "trunks": 1}), one) == [0, 0]


def test_values_that_are_no_chances_are_told():
    tree = told([-3.5, 0.0, 0.0], 3)
    with pytest.raises(ScoreError, match=r"'value' is -3.5 at episode 0, step 0: predicted_mixed"):
        asked(Branch(trunks=1, **MIXED), tree)
    tree.columns["value"][1] = math.nan
    with pytest.raises(ScoreError, match="NaN"):
        asked(Branch(trunks=1, **MIXED), tree)


def test_later_rounds_count_what_branches_came_to():
    # 1 2 [3]; a branch of round 0 from 1: 4 [5]
    tree = told([0.9, 0.5, None], 3, rewards=[1.0])
    at = tree.append(Node(1, origin=Origin(1)))
    tree.append(Node(at, origin=Origin(1, 1), done=True))
    tree.columns["value"][4] = 0.0
    tree.column("reward")[5] = 0.0
    # V(1) = (1.9 + 1) / 4 = .725: .2   V(2) = (1.5 + 1) / 3 = .83: .14   V(4) = 1 / 3: .22
    assert asked(Branch(trunks=1, nodes=1, rounds=2, **MIXED), tree) == [4]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"column": "judge"}, 'column = \'judge\' is read by pick = "guide" or "predicted_mixed"'),
        ({"pick": "guide", "stop": 0.1}, 'stop = 0.1 is read by pick = "predicted_mixed"'),
        ({"pick": "entropy", "weight": 2.0}, 'weight = 2.0 is read by pick = "predicted_mixed"'),
        ({"pick": "predicted_mixed", "stop": 0.5}, "stop = 0.5: "),
        ({"pick": "predicted_mixed", "weight": 0}, "weight = 0: "),
        ({"pick": "predicted_mixed", "column": ""}, "column = '': "),
    ],
)
def test_wrong_settings_are_told(settings, text):
    with pytest.raises(RecipeError) as caught:
        strategy("branch", **settings)
    assert text in str(caught.value)


def test_trees_of_before_are_found_again():
    old = {"trunks": 2, "nodes": 2, "rounds": 1, "pick": "random", "penalty": 0.1}
    assert Branch().identity() == old
    assert Branch(**MIXED, stop=0.1).identity() == {**old, **MIXED, "stop": 0.1}


# --- spread over the trees of a step -------------------------------------------------------------

SPREAD = {"trunks": 2, "nodes": 1, "spread": True, **MIXED}


def sized(values, *lengths, rewards=(), tokens=2, seed=0):
    """As `told`, each step of so many tokens."""
    tree = told(values, *lengths, rewards=rewards, seed=seed)
    nodes = [replace(node, tokens=ids([1] * tokens)) for node in tree.nodes[1:]]
    return Tree(tree.task, [tree.nodes[0], *nodes], tree.columns, tree.seed)


def test_a_budget_goes_to_trees_as_they_are_mixed():
    how = Branch(**SPREAD)
    # V = (2 v + both rewards) / 4, v the mean of steps 1 and 3
    even = sized([0.2, None, -0.2, None], 2, 2, rewards=[1.0, 0.0])  # 1/2: .25
    solved = sized([1.0, None, 1.0, None], 2, 2, rewards=[1.0, 1.0])  # 1: 0
    rather = sized([0.8, None, 0.8, None], 2, 2, rewards=[1.0, 1.0])  # .95: .0475
    assert how.mixedness(even) == pytest.approx(0.25) and how.mixedness(solved) == 0.0
    assert how.mixedness(rather) == pytest.approx(0.0475)
    # 6 branches of 2 tokens. Quotients of even: .25 .125 .083 .063 .05 .042; of rather: .0475
    assert branches(how, [even, solved, rather]) == [5, 0, 1]
    # a tree gets four times its even share at most: 2 x 4
    assert branches(how, [even, solved, solved, solved, solved]) == [8, 0, 0, 0, 0]
    assert branches(how, [solved, solved]) == [0, 0]


def test_the_budget_is_one_of_tokens():
    how = Branch(**SPREAD)
    long = sized([0.0, None, 0.0, None], 2, 2, rewards=[1.0, 0.0], tokens=6)
    short = sized([0.0, None, 0.0, None], 2, 2, rewards=[1.0, 0.0], tokens=2)
    assert (branch_tokens(how, long), branch_tokens(how, short)) == (6, 2)
    # 2 x 6 + 2 x 2 = 16 tokens: long, short, long, short; then none is left
    assert branches(how, [long, short]) == [2, 2]
    # 2 x 6 + 2 x 2 x 2 = 20 tokens, the first hopeless: 10 of 2 tokens, 5 each
    hopeless = sized([-1.0, None, -1.0, None], 2, 2, rewards=[0.0, 0.0], tokens=6)
    assert branches(how, [hopeless, short, short]) == [0, 5, 5]


def test_a_branch_of_one_step_costs_all_of_its_trunk():
    # from steps 1 and 2 of a chain of 3 there are 4 and 2 tokens left; a trunk of one step has 2
    how = Branch(**SPREAD)
    assert branch_tokens(how, sized([0.0] * 3, 3)) == 3
    assert branch_tokens(how, sized([0.0], 1)) == 2
    lone = told([None], 1, rewards=[1.0])
    assert how.mixedness(lone) == 0.0 and how.mixedness(told([None], 1)) == 0.25


def test_a_tree_grows_what_it_was_given_from_whichever_trunk():
    tree = sized([0.9, None, 0.1, None], 2, 2, rewards=[1.0, 0.0])
    how = Branch(**SPREAD)
    state = restore(tree)
    assert how.ask(tree, state) == [] and how.may_fork(tree, state, 1)  # nothing is given yet
    tree.column("forks")[0] = 3.0
    # V(1) = .967: .03   V(3) = 1.1 / 3: .23
    assert [(f.episode, f.node) for f in how.ask(tree, state)] == [(2, 3), (3, 1), (4, 3)]
    state.asked |= {2: 3, 3: 1}
    assert [f.episode for f in how.ask(tree, state)] == [4]  # the rest, after a stop
    state.asked[4] = 3
    assert how.ask(tree, state) == [] and not how.may_fork(tree, state, 1)
    tree.columns["forks"][0] = 0.0
    assert how.ask(tree, restore(tree)) == [] and how.leaves() == 2 * (4 + 1)


def test_spread_takes_one_round_of_predicted_branches():
    for settings in ({"rounds": 2, **MIXED}, {"pick": "random"}):
        with pytest.raises(RecipeError, match="spread takes rounds = 1 and pick"):
            strategy("branch", spread=True, **settings)
