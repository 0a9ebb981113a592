r"""Every credit method worked by hand, on trees small enough to be checked by eye.

    HAND              0              trunks: 1 and 6
                    /   \
                   1     6           rewards:  3: 1   4: 0   5: 0   7: 1
                  / \    |
                 2   5   7           task mean 1/2, sample std sqrt(1/3), population std 1/2
                / \                  trunk 1: mean 1/3, sample std sqrt(1/3); trunk 6: one leaf
               3   4
"""

from __future__ import annotations

from math import sqrt

import pytest

from hornbeam.credit import credit
from hornbeam.errors import DataError, RecipeError
from hornbeam.tree.nodes import Tree
from little_trees import tree


def hand() -> Tree:
    return tree([0, 1, 2, 2, 1, 0, 6], {3: 1.0, 4: 0.0, 5: 0.0, 7: 1.0})


def leaves(t: Tree) -> list[float | None]:
    return [t.columns["advantage"][i] for i in (3, 4, 5, 7)]


def credited(name: str, **settings: object) -> Tree:
    out = hand()
    credit([out], name, **settings)
    return out


def test_grpo() -> None:
    # (1 - 1/2) / sqrt(1/3) = sqrt(3)/2
    assert leaves(credited("grpo")) == pytest.approx(
        [sqrt(3) / 2, -sqrt(3) / 2, -sqrt(3) / 2, sqrt(3) / 2]
    )


def test_grpo_population() -> None:
    assert leaves(credited("grpo", std="population")) == pytest.approx([1, -1, -1, 1])


def test_rloo() -> None:
    # leaf 3: 1 - mean(0, 0, 1) = 2/3
    assert leaves(credited("rloo")) == pytest.approx([2 / 3, -2 / 3, -2 / 3, 2 / 3])


def test_dr_grpo() -> None:
    assert leaves(credited("dr_grpo")) == [0.5, -0.5, -0.5, 0.5]


def test_grpo_scaled_by_the_batch() -> None:
    # rewards 1, 0 | 1, 1 | 4, 2: mean 3/2, squares from it 1/4 9/4 1/4 1/4 25/4 1/4, sum 38/4
    batch = [tree([0, 0], {1: a, 2: b}, n) for n, (a, b) in zip("xyz", ((1, 0), (1, 1), (4, 2)))]
    credit(batch, "grpo", scale="batch")
    spread = sqrt(38 / 4 / 5)
    got = [t.columns["advantage"][1:] for t in batch]
    assert got[0] == pytest.approx([0.5 / spread, -0.5 / spread])
    assert got[1] == [0.0, 0.0]
    assert got[2] == pytest.approx([1 / spread, -1 / spread])


def test_pass_at_two() -> None:
    # of the 6 pairs of (1, 0, 0, 1) all but (4, 5) hold a 1: mean 5/6, std sqrt(5)/6;
    # leaf 3 is in pairs of maximum 1, leaf 4 in (3, 4), (4, 7): 1 and (4, 5): 0, mean 2/3
    right, wrong = (1 / 6) / (sqrt(5) / 6), (2 / 3 - 5 / 6) / (sqrt(5) / 6)
    assert leaves(credited("pass_k", k=2)) == pytest.approx([right, wrong, wrong, right])
    # leaf 3 raises the maximum of (3, 4) and (3, 5), not of (3, 7): 2 * 2/3
    assert leaves(credited("pass_k", k=2, baseline="others")) == pytest.approx([4 / 3, 0, 0, 4 / 3])
    # three of four hold a 1 always, and 1 and 1 are first and second
    assert leaves(credited("pass_k", k=3)) == [0.0] * 4
    assert leaves(credited("pass_k", k=9, baseline="others")) == [0.0] * 4


def test_the_best_of_all_gets_what_it_has_before_the_second() -> None:
    t = tree([0, 0, 0], {1: 0.2, 2: 0.9, 3: 0.5})
    credit([t], "pass_k", k=3, baseline="others")
    assert t.columns["advantage"][1:] == pytest.approx([0, 3 * (0.9 - 0.5), 0])


def test_gdpo_sets_each_reward_against_the_group() -> None:
    # format is ten times as large as the reward, and counts no more than its weight says
    one, two = hand(), tree([0, 0], {1: 1, 2: 1}, "b")
    for t, good in ((one, {3: 10, 4: 10, 5: 0, 7: 0}), (two, {1: 1, 2: 0})):
        t.columns["format"] = [good.get(i) for i in range(len(t))]
    credit([one, two], "gdpo", weights={"reward": 2.0, "format": 1.0}, std="population")
    # population: reward (1, -1, -1, 1) | 0, 0; format (1, 1, -1, -1) | (1, -1)
    # sums 3, -1, -3, 1 | 1, -1: squares 22, std sqrt(22/6)
    s = sqrt(22 / 6)
    assert leaves(one) == pytest.approx([3 / s, -1 / s, -3 / s, 1 / s])
    assert two.columns["advantage"][1:] == pytest.approx([1 / s, -1 / s])


def test_gdpo_leaves_out_what_a_column_does_not_say() -> None:
    t = hand()
    t.columns["format"] = [None] * 8
    t.columns["format"][3], t.columns["format"][5] = 1.0, 0.0
    credit([t], "gdpo", weights={"format": 1.0}, std="population")
    assert leaves(t) == pytest.approx([sqrt(2), 0, -sqrt(2), 0])  # 1, 0, -1, 0 over std sqrt(1/2)


def test_gdpo_says_what_is_missing_or_no_number() -> None:
    with pytest.raises(DataError, match=r"task 'q': no column 'form' to credit by; it has prior"):
        credit([hand()], "gdpo", weights={"form": 1.0})
    t = hand()
    t.columns["form"] = [0.0, *[float("nan")] * 7]
    with pytest.raises(DataError, match="node 3: form nan is not a finite number"):
        credit([t], "gdpo", weights={"form": 1.0})
    for weights in ({}, {"reward": 0.0}, {"reward": float("inf")}):
        with pytest.raises(RecipeError, match="weights"):
            credit([hand()], "gdpo", weights=weights)
    with pytest.raises(RecipeError, match="set k to 2 or more"):
        credit([hand()], "pass_k", k=1, baseline="others")


def test_tree_grpo_intra() -> None:
    # trunk 1: (1 - 1/3) / sqrt(1/3) = 2/sqrt(3);  (0 - 1/3) / sqrt(1/3) = -1/sqrt(3); trunk 6: 0
    assert leaves(credited("tree_grpo", mode="intra")) == pytest.approx(
        [2 / sqrt(3), -1 / sqrt(3), -1 / sqrt(3), 0]
    )


def test_tree_grpo_inter() -> None:
    assert leaves(credited("tree_grpo", mode="inter")) == leaves(credited("grpo"))


def test_tree_grpo_both() -> None:
    half, third = sqrt(3) / 2, 1 / sqrt(3)
    expected = [half + 2 * third, -half - third, -half - third, half]
    assert leaves(credited("tree_grpo")) == pytest.approx(expected)


def test_tree_grpo_population() -> None:
    # trunk 1: std = sqrt(2)/3, so (2/3) / (sqrt(2)/3) = sqrt(2) and -1/sqrt(2)
    got = leaves(credited("tree_grpo", std="population"))
    assert got == pytest.approx([1 + sqrt(2), -1 - 1 / sqrt(2), -1 - 1 / sqrt(2), 1])


def test_tree_rl() -> None:
    #     V: 0: 1/2   1: 1/3   2: 1/2   3: 1   4: 0   5: 0   6: 1   7: 1
    # |L|:    4       3        2        1      1      1      1      1
    a = credited("tree_rl").columns["advantage"]
    assert a[0] is None
    assert a[1:] == pytest.approx(
        [
            (-1 / 6 - 1 / 6) / sqrt(3),  # 1/3 against the root 1/2, which is its parent too
            (0 + 1 / 6) / sqrt(2),
            (1 / 2 + 1 / 2) / 1,
            (-1 / 2 - 1 / 2) / 1,
            (-1 / 2 - 1 / 3) / 1,
            (1 / 2 + 1 / 2) / 1,
            (1 / 2 + 0) / 1,
        ]
    )


def test_value_backup() -> None:
    # V: 2: mean(1, 0) = 1/2   1: mean(1/2, 0) = 1/4   6: 1   0: mean(1/4, 1) = 5/8
    a = credited("value_backup").columns["advantage"]
    assert a == [None, 1 / 4 - 5 / 8, 1 / 2 - 1 / 4, 1 / 2, -1 / 2, -1 / 4, 1 - 5 / 8, 0]


def test_shaped_by_progress_and_by_level() -> None:
    # A of leaves 3, 4, 5, 7 (grpo, population): 1, -1, -1, 1; means below: 2: 0  1: -1/3  6: 1
    out = hand()
    out.columns["value"] = [None, 0.5, 0.0, 1.0, None, -0.5, -1.0, 0.0]
    credit([out], "shaped", weight=0.1, std="population")
    start = (0.5 - 1.0) / 2  # the task's value: the mean of its first steps'
    progress = [0.5 - start, -0.5, 1.0, 0.0, -1.0, -1 - start, 1.0]
    grpo = [-1 / 3, 0, 1, -1, -1, 1, 1]
    expected = [a + 0.1 * p for a, p in zip(grpo, progress)]
    assert out.columns["advantage"][1:] == pytest.approx(expected)
    credit([out], "shaped", weight=0.1, std="population", progress=False)
    expected = [a + 0.1 * (v or 0) for a, v in zip(grpo, out.columns["value"][1:])]
    assert out.columns["advantage"][1:] == pytest.approx(expected)


def test_shaped_says_which_column_is_missing() -> None:
    with pytest.raises(DataError, match=r"no column 'judge'.*\[guides.judge\]"):
        credit([hand()], "shaped", column="judge")


def test_reinforce_pp_whitens_over_the_batch() -> None:
    # rewards 1, 0 | 0, 0: mean 1/4, sample std 1/2
    one, two = tree([0, 0], {1: 1, 2: 0}, "a"), tree([0, 0], {1: 0, 2: 0}, "b")
    credit([one, two], "reinforce_pp")
    assert one.columns["advantage"] == [None, 1.5, -0.5]
    assert two.columns["advantage"] == [None, -0.5, -0.5]


def test_reinforce_pp_with_group_baseline() -> None:
    # centred 1/2, -1/2 | 0, 0: batch mean 0, sample std sqrt(1/6); the unmixed group stays at 0
    one, two = tree([0, 0], {1: 1, 2: 0}, "a"), tree([0, 0], {1: 0, 2: 0}, "b")
    credit([one, two], "reinforce_pp", baseline="group")
    assert one.columns["advantage"][1:] == pytest.approx([sqrt(6) / 2, -sqrt(6) / 2])
    assert two.columns["advantage"] == [None, 0.0, 0.0]


def test_columns_of_a_path_method() -> None:
    c = credited("dr_grpo").columns
    #                              0     1     2     3    4     5     6    7
    assert c["advantage"] == [None, None, None, 0.5, -0.5, -0.5, None, 0.5]
    assert c["advantage_pos"] == [1.0, 0.5, 0.5, 0.5, 0.0, 0.0, 0.5, 0.5]
    assert c["advantage_neg"] == [-1.0, -1.0, -0.5, 0.0, -0.5, -0.5, 0.0, 0.0]
    assert c["leaves"] == [4, 3, 2, 1, 1, 1, 1, 1]


def test_columns_of_a_node_method_count_a_node_once_for_each_leaf_below() -> None:
    c = credited("value_backup").columns
    #                                 0     1       2    3    4     5      6    7
    assert c["advantage_pos"] == [0.0, 0.0, 2 / 4, 0.5, 0.0, 0.0, 3 / 8, 0.0]
    assert c["advantage_neg"] == [0.0, 3 * -3 / 8, 0.0, 0.0, -0.5, -0.25, 0.0, 0.0]
    assert c["leaves"] == [4, 3, 2, 1, 1, 1, 1, 1]


def test_lines_of_one_task_are_one_group() -> None:
    # q: 1, 0 and 1 over two trees, mean 2/3, sample std 1/sqrt(3); another task between them
    one = tree([0, 0], {1: 1, 2: 0})
    other = tree([0], {1: 5}, "other")
    two = tree([0], {1: 1})
    credit([one, other, two], "grpo")
    assert one.columns["advantage"][1:] == pytest.approx([1 / sqrt(3), -2 / sqrt(3)])
    assert two.columns["advantage"][1:] == pytest.approx([1 / sqrt(3)])
    assert other.columns["advantage"] == [None, 0.0]


@pytest.mark.parametrize("name", ["tree_rl", "value_backup"])
def test_trees_of_one_task_share_the_value_of_the_task(name: str) -> None:
    # two trunks in one tree, or one tree each: the same credit
    joint = tree([0, 1, 1, 0], {2: 1, 3: 0, 4: 1})
    left, right = tree([0, 1, 1], {2: 1, 3: 0}), tree([0], {1: 1})
    credit([joint], name)
    credit([left, right], name)
    assert left.columns["advantage"] + right.columns["advantage"][1:] == joint.columns["advantage"]


def test_a_trunk_of_one_leaf_has_intra_advantage_zero_in_each_tree() -> None:
    # the trunks of two trees are two trunks, though both are node 1
    one, two = tree([0], {1: 1}), tree([0], {1: 0})
    credit([one, two], "tree_grpo", mode="intra")
    assert one.columns["advantage"] == two.columns["advantage"] == [None, 0.0]
