"""How credit is asked for: settings, wrong input, unscored leaves, large trees."""

from __future__ import annotations

import pytest

from hornbeam.credit import credit, method, methods, mixed
from hornbeam.errors import DataError, RecipeError
from hornbeam.tree.nodes import Tree
from little_trees import tree


def test_unknown_method_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"unknown credit method 'gpro': did you mean 'grpo'"):
        method("gpro")


def test_unknown_setting_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"'tree_grpo' has no setting 'mod': did you mean 'mode'"):
        method("tree_grpo", mod="intra")


@pytest.mark.parametrize("key", ["name", "how", "self", "trees"])
def test_a_setting_may_not_be_mistaken_for_an_argument(key: str) -> None:
    with pytest.raises(RecipeError, match=f"no setting '{key}'"):
        method("grpo", **{key: 1})
    with pytest.raises(RecipeError, match=f"no setting '{key}'"):
        credit([tree([0], {1: 1})], "grpo", **{key: 1})


def test_a_wrong_value_is_told() -> None:
    with pytest.raises(RecipeError, match="std = 'sampel'"):
        method("grpo", std="sampel")


def test_rewards_at_inner_nodes_are_not_read() -> None:
    plain, noisy = tree([0, 0], {1: 1, 2: 0}), tree([0, 0], {0: 7, 1: 1, 2: 0})
    credit([plain], "grpo")
    credit([noisy], "grpo")
    assert plain.columns["advantage"] == noisy.columns["advantage"]


def test_rewards_at_inner_nodes_only_are_an_error() -> None:
    with pytest.raises(DataError, match="task 'q': node 1 has a 'reward' but no leaf has"):
        credit([tree([0, 1], {1: 1})], "grpo")


def test_a_tree_that_was_never_scored_is_an_error_and_nothing_is_written() -> None:
    good, bare = tree([0, 0], {1: 1, 2: 0}), tree([0], {}, "b")
    del bare.columns["reward"]
    with pytest.raises(DataError, match="task 'b': no column 'reward'"):
        credit([good, bare], "grpo")
    assert set(good.columns) == {"reward", "value", "prior"}


@pytest.mark.parametrize("name", sorted(methods))
def test_a_tree_of_failed_leaves_has_no_advantage_and_counts_nowhere(name: str) -> None:
    # its task's other tree is credited as if it were alone
    alone, beside, failed = (tree([0, 0], {1: 1, 2: 0}) for _ in range(3))
    failed.columns["reward"] = [None, None, None]
    credit([alone], name)
    credit([failed, beside], name)
    assert beside.columns == alone.columns
    assert failed.columns["advantage"] == [None, None, None]
    assert failed.columns["leaves"] == [0, 0, 0]
    assert not any(failed.columns["advantage_pos"]) and not any(failed.columns["advantage_neg"])


@pytest.mark.parametrize("name", sorted(methods))
def test_no_tree_and_a_task_from_which_nothing_grew_are_no_error(name: str) -> None:
    credit([], name)
    bare = tree([], {})
    credit([bare], name)
    assert (bare.columns["advantage"], bare.columns["leaves"]) == ([None], [0])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_reward_that_is_no_number_is_an_error(bad: float) -> None:
    with pytest.raises(DataError, match=r"node 2: reward .* is not a finite number"):
        credit([tree([0, 0], {1: 1, 2: bad})], "grpo")


def test_rewards_too_large_to_add_are_an_error() -> None:
    with pytest.raises(DataError, match="too large to add"):
        credit([tree([0, 0], {1: 1.7e308, 2: 1.6e308})], "tree_rl")


def test_rounding_noise_counts_as_equal() -> None:
    t = tree([0, 0], {1: 0.1 + 0.2, 2: 0.3})
    credit([t], "grpo")
    assert t.columns["advantage"] == [None, 0.0, 0.0]


def test_task_ids_of_another_type_are_other_tasks() -> None:
    number, text = tree([0], {1: 1}), tree([0], {1: 0})
    number.task["id"], text.task["id"] = 1, "1"
    credit([number, text], "dr_grpo")
    assert number.columns["advantage"] == text.columns["advantage"] == [None, 0.0]


def test_mixed_counts_groups() -> None:
    trees = [
        tree([0, 0], {1: 1, 2: 0}, "a"),
        tree([0, 0], {1: 1, 2: 1}, "b"),
        tree([0], {1: 1}, "c"),
        tree([0], {1: 0}, "c"),  # one group with the line above: mixed
        tree([0], {}, "d"),
    ]
    counts = mixed(trees)
    assert (counts.mixed, counts.unmixed, counts.unscored) == (2, 1, 1)


def chain(n: int) -> Tree:
    return tree(range(n), {n: 1}, states="abc" * n)


def caterpillar(n: int) -> Tree:
    """A chain of n / 2 steps with a leaf at each."""
    spine = [2 * i for i in range(n // 2) for _ in range(2)]
    spine = [max(p - 1, 0) for p in spine]
    return tree(spine, {i: float(i % 3 == 0) for i in range(1, n + 1)}, states="abc" * n)


def star(n: int) -> Tree:
    return tree([0] * n, {i: float(i % 3 == 0) for i in range(1, n + 1)})


@pytest.mark.timeout(60)  # quadratic work on so many nodes would take minutes
@pytest.mark.parametrize("shape", [chain, caterpillar, star])
@pytest.mark.parametrize(
    "name",
    [
        "grpo",
        "tree_grpo",
        "tree_rl",
        "value_backup",
        "m_grpo",
        "gdpo",
        "pass_k",
        "gigpo",
        "hgpo",
        "rtmc",
        "state_gae",
    ],
)
def test_large_trees_take_linear_time(name: str, shape) -> None:
    large = shape(20_000)
    credit([large], name)
    assert len(large) == 20_001
