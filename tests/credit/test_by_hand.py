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
from hornbeam.errors import DataError
from hornbeam.tree import Tree
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
