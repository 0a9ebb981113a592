"""Rewards of steps in credit: by hand, what they reduce to, and who does not count them."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbeam.credit import credit, method, methods, mixed
from hornbeam.credit.step_rewards import earned, path_returns, step_columns, to_go
from hornbeam.errors import DataError, HornbeamError
from hornbeam.tree.facts import Call, StepReward
from hornbeam.tree.nodes import Tree
from little_trees import orders, renumbered, tree, trees

COUNTS = [name for name in methods if not method(name).outcome_only]
STEPS = [None, 0.5, 1.0, None, -0.5, None]

#        0
#        1  r 0.5
#       / \
# r 1  2   3  R 1
#     / \
#    4   5        r -0.5 and R 0; R 1


def little(steps=STEPS):
    out = tree([0, 1, 1, 2, 2], {3: 1.0, 4: 0.0, 5: 1.0})
    out.columns["step_reward"] = [*steps]
    return out


def advantages(name, **settings):
    out = little()
    credit([out], name, **settings)
    return out.columns["advantage"]


def test_returns_of_paths_by_hand():
    out, reward = little(), [None, None, None, 1.0, 0.0, 1.0]
    summed = path_returns(out, reward, method("grpo", returns="sum"))
    assert summed == [None, None, None, 1.5, 1.0, 2.5]
    half = method("grpo", returns="discounted", discount=0.5)
    assert path_returns(out, reward, half) == [None, None, None, 1.0, 0.875, 1.25]
    assert earned(out, STEPS, 0.5) == [0.0, 0.5, 1.0, 0.5, 0.875, 1.0]
    assert to_go(out, half) == ([0.0, 0.0, 0.5, 0.5, 1.0, 1.0], [1.0, 1.0, 0.5, 0.5, 0.25, 0.25])


def test_a_path_s_advantage_is_of_its_return():
    mean = (1.5 + 1.0 + 2.5) / 3
    wanted = [None, None, None, 1.5 - mean, 1.0 - mean, 2.5 - mean]
    assert advantages("dr_grpo", returns="sum") == pytest.approx(wanted)
    mean = (1.0 + 0.875 + 1.25) / 3
    wanted = [None, None, None, 1.0 - mean, 0.875 - mean, 1.25 - mean]
    assert advantages("dr_grpo", returns="discounted", discount=0.5) == pytest.approx(wanted)


def test_value_backup_is_of_rewards_to_go():
    # behind 2: (-0.5 + 0 + 1)/2 = 0.25; 2: 1 + 0.25; behind 1: (1.25 + 1)/2 = 1.125
    summed = [None, 0.0, 0.125, -0.125, -0.75, 0.75]
    assert advantages("value_backup", returns="sum") == pytest.approx(summed)
    # 2: 1 + 0.25/2 = 1.125; behind 1: (1.125 + 1)/2 = 1.0625
    half = [None, 0.0, 0.0625, -0.0625, -0.75, 0.75]
    assert advantages("value_backup", returns="discounted", discount=0.5) == pytest.approx(half)


def test_tree_rl_is_of_whole_returns_and_rewards_to_go():
    # means of G below: 5/3 at the root and 1, 1.75 at 2
    root, second = 5 / 3, 1.75
    wanted = [None, 0.0, 2 * (second - root) / math.sqrt(2), 2 * (1.5 - root)]
    wanted += [1.0 - root + 1.0 - second, 2.5 - root + 2.5 - second]
    assert advantages("tree_rl", returns="sum") == pytest.approx(wanted)
    root, second = 3.125 / 3, (0.875 + 1.25) / 2
    wanted = [None, 0.0, (second - root) * (1 + 2) / math.sqrt(2), (1.0 - root) * (1 + 2)]
    wanted += [0.875 - root + (0.875 - second) * 4, 1.25 - root + (1.25 - second) * 4]
    found = advantages("tree_rl", returns="discounted", discount=0.5)
    assert found == pytest.approx(wanted)


def test_gdpo_sets_them_against_the_group_as_a_reward_of_their_own():
    both = advantages("gdpo", weights={"reward": 1.0, "step_reward": 0.5}, returns="sum")
    outs = []
    for values in ([1.0, 0.0, 1.0], [0.5, 1.0, 1.5]):  # outcomes, sums of the paths
        mean = math.fsum(values) / 3
        std = math.sqrt(sum((v - mean) ** 2 for v in values) / 2)
        outs.append([(v - mean) / std for v in values])
    sums = [a + 0.5 * b for a, b in zip(*outs)]
    std = math.sqrt(sum(v * v for v in sums) / 2)
    assert both[3:] == pytest.approx([v / std for v in sums])


def given_ones(out):
    """The tree with its column of rewards as facts of its nodes."""
    steps = out.columns.pop("step_reward")
    nodes = [
        node if r is None else replace(node, rewards=(StepReward(r),))
        for node, r in zip(out.nodes, steps)
    ]
    return Tree(out.task, nodes, out.columns)


def test_those_given_as_the_tree_ran_count_unless_told_not_to():
    out = given_ones(little())
    credit([out], "rloo")
    assert out.columns["advantage"] == advantages("rloo", returns="sum")
    credit([out], "rloo", returns="outcome")
    assert out.columns["advantage"] == advantages("rloo")  # a column alone counts where it is told
    assert out.columns["advantage"] != advantages("rloo", returns="sum")


def test_columns_of_what_was_given():
    out = little([None] * 6)
    rewards = (StepReward(0.1), StepReward(0.2, "a"), StepReward(-0.3, "a"))
    out.nodes[1] = replace(out.nodes[1], rewards=rewards)
    out.nodes[2] = replace(out.nodes[2], calls=(Call("t", {}, reward=1.0), Call("u", {})))
    assert step_columns(out) == {
        "step_reward": [None, math.fsum([0.1, 0.2, -0.3]), 1.0, None, None, None],
        "step_reward.a": [None, math.fsum([0.2, -0.3]), None, None, None, None],
        "step_reward.t": [None, None, 1.0, None, None, None],
    }


def test_what_came_before_the_first_ask_is_no_step_s():
    assert path_returns(little([9.0, *STEPS[1:]]), [None] * 3 + [1.0] * 3, method("grpo")) == (
        path_returns(little(), [None] * 3 + [1.0] * 3, method("grpo"))
    )
    assert earned(little([9.0, *STEPS[1:]]), [9.0, *STEPS[1:]], 1.0)[3] == 0.5


def test_groups_are_mixed_by_what_counts():
    out = tree([0, 0], {1: 1.0, 2: 1.0})
    out.columns["step_reward"] = [None, 1.0, None]
    assert mixed([out]).mixed == 0
    assert mixed([out], method("grpo", returns="sum")).mixed == 1
    assert mixed([out], method("grpo", returns="outcome")).mixed == 0
    assert mixed([out], method("gdpo", weights={"reward": 1.0, "step_reward": 1.0})).mixed == 1


# --- laws ----------------------------------------------------------------------------------------


@st.composite
def rewarded(draw):
    out = draw(trees())
    value = st.sampled_from([None, None, 0.0, 1.0, -0.25, 0.1, 1 / 3])
    out.columns["step_reward"] = [None, *(draw(value) for _ in out.nodes[1:])]
    return out


def columns(out, name, **settings):
    credit([out], name, **settings)
    return {c: out.columns[c] for c in ("advantage", "advantage_pos", "advantage_neg", "leaves")}


@pytest.mark.parametrize("name", COUNTS)
@given(out=trees())
def test_without_them_nothing_changes(name, out):
    plain = columns(out, name)
    assert columns(out, name, returns="sum") == plain
    out.columns["step_reward"] = [None] * len(out)
    assert columns(out, name, returns="sum") == plain


@pytest.mark.parametrize("name", COUNTS)
@given(out=rewarded())
def test_a_discount_of_one_is_the_sum(name, out):
    assert columns(out, name, returns="discounted", discount=1.0) == columns(
        out, name, returns="sum"
    )


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("how", [{"returns": "sum"}, {"returns": "discounted", "discount": 0.5}])
@given(out=trees())
def test_a_reward_of_the_last_step_is_one_of_the_outcome(name, how, out):
    as_outcome = columns(out, name, **how)
    reward = out.columns["reward"]
    out.columns["step_reward"] = [*reward]
    out.columns["reward"] = [None if r is None else 0.0 for r in reward]
    assert columns(out, name, **how) == as_outcome


@given(out=rewarded(), discount=st.sampled_from([1.0, 0.5, 0.9]))
def test_value_backup_telescopes_to_the_return(out, discount):
    how = method("value_backup", returns="discounted", discount=discount)
    outcome = out.columns["reward"]
    credit([out], how)
    returns = path_returns(out, outcome, how)
    values = {}
    for leaf in out.leaves():
        if returns[leaf] is not None:
            own = out.columns["advantage"]
            path = [discount**k * own[i] for k, i in enumerate(out.path(leaf))]
            values[leaf] = returns[leaf] - math.fsum(path)
    assert max(values.values()) - min(values.values()) < 1e-9  # V(root), of all leaves


@pytest.mark.parametrize("name", COUNTS)
@given(data=st.data())
def test_the_order_of_nodes_does_not_matter(name, data):
    out = data.draw(rewarded())
    again, place = renumbered(out, data.draw(orders(out)))
    how = {"returns": "discounted", "discount": 0.5}
    first, second = columns(out, name, **how), columns(again, name, **how)
    for column, values in first.items():
        assert values == pytest.approx([second[column][place[i]] for i in range(len(out))])


# --- who does not count them ---------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted({*methods} - {*COUNTS}))
def test_a_method_without_a_meaning_for_them_says_so(name):
    with pytest.raises(HornbeamError, match=f"'{name}': returns = 'sum': {name} ") as caught:
        method(name, returns="sum")
    assert "\n" not in str(caught.value)
    out = given_ones(little())
    with pytest.raises(DataError, match=r'its steps have rewards.*set returns = "outcome"'):
        credit([out], name)
    credit([out], name, returns="outcome")
    credit([little()], name)  # a column that was put there asks for nothing


@pytest.mark.parametrize(
    "settings",
    [
        {"returns": "discounted"},
        {"discount": 0.5},
        {"returns": "sum", "discount": 0.5},
        {"returns": "discounted", "discount": 0.0},
        {"returns": "discounted", "discount": 1.5},
        {"returns": "total"},
    ],
)
def test_settings_that_do_not_go_together(settings):
    with pytest.raises(HornbeamError) as caught:
        method("grpo", **settings)
    assert "\n" not in str(caught.value)


def test_a_step_s_reward_is_a_finite_number():
    out = little([None, math.nan, 1.0, None, None, None])
    with pytest.raises(DataError, match="node 1: step_reward nan is not a finite number"):
        credit([out], "grpo", returns="sum")
