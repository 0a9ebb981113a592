"""Laws of credit on random trees."""

from __future__ import annotations

from itertools import combinations
from math import fsum
from statistics import pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbeam.credit import credit, methods, mixed
from hornbeam.protocols import NodeMethod
from hornbeam.tree.nodes import Tree
from little_trees import orders, renumbered, tree, trees

NAMES = sorted(methods)
CENTRED = ["grpo", "rloo", "dr_grpo", "reinforce_pp", "tree_grpo", "gdpo", "pass_k"]
ROUNDED = [
    (0.3, 0.30000001192092896),  # 0.1 + 0.2 in float32
    (1.0, 1.0 - 3 * 2.0**-24),  # three additions of float32 below
    (-2e5, -2e5 - 2.0**-6),  # one unit of float32
    (0.0, 0.1 + 0.2 - 0.3),
]
WRITTEN = ["advantage", "advantage_pos", "advantage_neg", "leaves"]


def advantages(t: Tree) -> list[float]:
    return [a for leaf in t.leaves() if (a := t.columns["advantage"][leaf]) is not None]


def copy(t: Tree) -> Tree:
    given = {name: list(t.columns[name]) for name in ("reward", "value", "prior")}
    return Tree(dict(t.task), list(t.nodes), given)


def credited(t: Tree, name: str, **settings: object) -> Tree:
    out = copy(t)
    credit([out], name, **settings)
    return out


@pytest.mark.parametrize("name", CENTRED)
@given(t=trees())
def test_group_centred_credit_sums_to_zero(name: str, t: Tree) -> None:
    assert fsum(advantages(credited(t, name))) == pytest.approx(0, abs=1e-9)


@given(t=trees())
def test_intra_credit_sums_to_zero_in_every_trunk(t: Tree) -> None:
    done = credited(t, "tree_grpo", mode="intra")
    sums: dict[int, float] = {}
    for leaf in done.leaves():
        trunk = done.trunk(leaf)
        sums[trunk] = sums.get(trunk, 0.0) + (done.columns["advantage"][leaf] or 0.0)
    assert list(sums.values()) == pytest.approx([0.0] * len(sums), abs=1e-9)


@given(t=trees())
def test_shaping_by_progress_telescopes_to_the_last_value_against_the_tasks(t: Tree) -> None:
    every = [None, *(v or 0.0 for v in t.columns["value"][1:])]
    t.columns["value"] = every
    plain, shaped = credited(t, "shaped", weight=0.0), credited(t, "shaped", weight=2.0)
    a, b = plain.columns["advantage"], shaped.columns["advantage"]
    first = [i for i in t.children(0) if a[i] is not None]
    start = fsum(every[i] for i in first) / len(first)
    for leaf in t.leaves():
        if a[leaf] is not None:
            added = fsum(b[i] - a[i] for i in t.path(leaf))
            assert added == pytest.approx(2 * (every[leaf] - start), abs=1e-9)


@given(t=trees())
def test_shaping_without_weight_is_the_mean_of_grpo_below(t: Tree) -> None:
    plain, shaped = credited(t, "grpo"), credited(t, "shaped", weight=0.0)
    assert advantages(shaped) == pytest.approx(advantages(plain))


@given(rewards=st.lists(st.sampled_from([0.0, 1.0, 0.3]), min_size=1, max_size=8))
def test_independent_chains_reduce_to_grpo(rewards: list[float]) -> None:
    # chains of two steps each: 0 -> 1 -> 2, 0 -> 3 -> 4, ...
    parents = [p for i in range(len(rewards)) for p in (0, 2 * i + 1)]
    chains = tree(parents, {2 * i + 2: reward for i, reward in enumerate(rewards)})
    plain = advantages(credited(chains, "grpo"))
    assert advantages(credited(chains, "tree_grpo", mode="inter")) == plain
    assert advantages(credited(chains, "tree_grpo", mode="both")) == plain
    assert not any(advantages(credited(chains, "tree_grpo", mode="intra")))


@given(t=trees())
def test_reinforce_pp_of_one_group_is_grpo(t: Tree) -> None:
    grpo = pytest.approx(advantages(credited(t, "grpo")))
    assert advantages(credited(t, "reinforce_pp")) == grpo
    assert advantages(credited(t, "reinforce_pp", baseline="group")) == grpo


@given(t=trees())
def test_what_reduces_to_grpo_and_to_dr_grpo(t: Tree) -> None:
    grpo = pytest.approx(advantages(credited(t, "grpo")))
    assert advantages(credited(t, "gdpo")) == grpo
    assert advantages(credited(t, "gdpo", weights={"reward": 0.3})) == grpo
    assert advantages(credited(t, "grpo", scale="none")) == advantages(credited(t, "dr_grpo"))
    assert advantages(credited(t, "grpo", scale="batch")) == grpo  # a batch of one group
    population = pytest.approx(advantages(credited(t, "grpo", std="population")))
    assert advantages(credited(t, "pass_k", k=1)) == population


@given(t=trees(), k=st.integers(2, 6))
def test_best_of_k_is_the_mean_over_all_subsets(t: Tree, k: int) -> None:
    """Both baselines from their definitions, subset by subset."""
    g = [t.columns["reward"][i] for i in t.leaves() if t.columns["reward"][i] is not None]
    sets = [*combinations(range(len(g)), min(k, len(g)))]
    best = [max(g[i] for i in s) for s in sets]
    mean, spread = fsum(best) / len(best), pstdev(best)
    shared, added = [], []
    for i in range(len(g)):
        own = [(b, s) for b, s in zip(best, sets) if i in s]
        shared.append((fsum(b for b, _ in own) / len(own) - mean) / (spread or 1.0))
        above = [b - max((g[j] for j in s if j != i), default=b) for b, s in own]
        added.append(min(k, len(g)) * fsum(above) / len(above))
    got = advantages(credited(t, "pass_k", k=k))
    assert got == pytest.approx(shared if spread else [0.0] * len(g), abs=1e-9)
    got = advantages(credited(t, "pass_k", k=k, baseline="others"))
    assert got == pytest.approx(added, abs=1e-9)


@given(t=trees())
def test_rloo_is_dr_grpo_times_n_over_n_minus_one(t: Tree) -> None:
    centred = advantages(credited(t, "dr_grpo"))
    n = len(centred)
    factor = n / (n - 1) if n > 1 else 0.0
    assert advantages(credited(t, "rloo")) == pytest.approx([factor * a for a in centred])


@given(t=trees())
def test_value_backup_telescopes_to_the_outcome_against_the_task(t: Tree) -> None:
    done = credited(t, "value_backup")
    reward, a = done.columns["reward"], done.columns["advantage"]
    # every path's sum is R - V(task): take the same V off for all
    totals = [
        reward[leaf] - fsum(a[i] for i in done.path(leaf))
        for leaf in done.leaves()
        if reward[leaf] is not None
    ]
    assert totals == pytest.approx([totals[0]] * len(totals), abs=1e-9)


@given(t=trees(gaps=False))
def test_tree_rl_of_a_leaf_under_the_task_is_twice_the_centred_outcome(t: Tree) -> None:
    done, centred = credited(t, "tree_rl"), credited(t, "dr_grpo")
    for leaf in done.leaves():
        if done.nodes[leaf].parent == 0:
            expected = 2 * (centred.columns["advantage"][leaf] or 0.0)
            assert done.columns["advantage"][leaf] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data(), t=trees())
def test_order_of_nodes_and_siblings_does_not_matter(
    name: str, data: st.DataObject, t: Tree
) -> None:
    order = data.draw(orders(t))
    other, place = renumbered(t, order)
    first, second = credited(t, name), credited(other, name)
    for column in WRITTEN:
        moved = [second.columns[column][place[i]] for i in range(len(t))]
        assert first.columns[column] == moved, column


@pytest.mark.parametrize("name", NAMES)
@given(one=trees(), two=trees("other"), three=trees())
def test_order_of_trees_does_not_matter(name: str, one: Tree, two: Tree, three: Tree) -> None:
    forth, back = [copy(t) for t in (one, two, three)], [copy(t) for t in (one, two, three)]
    credit(forth, name)
    credit(back[::-1], name)
    assert [t.columns for t in forth] == [t.columns for t in back]


@pytest.mark.parametrize("name", [n for n in NAMES if not issubclass(methods[n], NodeMethod)])
@given(t=trees())
def test_sums_of_a_path_method_telescope_upwards(name: str, t: Tree) -> None:
    done = credited(t, name)
    c = done.columns
    for i in range(len(done)):
        below = done.children(i)
        own = c["advantage"][i] or 0.0
        if below:
            assert c["advantage"][i] is None
            assert c["advantage_pos"][i] == pytest.approx(
                fsum(c["advantage_pos"][b] for b in below)
            )
            assert c["advantage_neg"][i] == pytest.approx(
                fsum(c["advantage_neg"][b] for b in below)
            )
            assert c["leaves"][i] == sum(c["leaves"][b] for b in below)
        else:
            assert (c["advantage_pos"][i], c["advantage_neg"][i]) == (max(own, 0), min(own, 0))
            assert c["leaves"][i] == (c["advantage"][i] is not None)


@pytest.mark.parametrize("name", NAMES)
@given(t=trees())
def test_a_leaf_without_reward_is_as_if_it_were_not_there(name: str, t: Tree) -> None:
    """Taking the unscored leaves (and what then ends nowhere) away changes no other credit."""
    done = credited(t, name)
    lives = {
        i for leaf in t.leaves() if t.columns["reward"][leaf] is not None for i in t.path(leaf)
    }
    kept = [0, *sorted(lives)]
    place = {old: new for new, old in enumerate(kept)}
    pruned = tree(
        [place[t.nodes[i].parent] for i in kept[1:]],
        {place[leaf]: r for leaf in t.leaves() if (r := t.columns["reward"][leaf]) is not None},
        states="".join(t.nodes[i].state or " " for i in kept[1:]),
    )
    pruned.columns["value"] = [t.columns["value"][i] for i in kept]
    credit([pruned], name)
    for column in WRITTEN:
        assert [done.columns[column][i] for i in kept] == pruned.columns[column]
    for i in set(range(1, len(t))) - lives:
        assert [done.columns[name][i] for name in WRITTEN] == [None, 0, 0, 0]


@pytest.mark.parametrize("name", sorted({*NAMES} - {"shaped", "pvpo", "anchor"}))  # those know more
@pytest.mark.parametrize("reward", [0.0, 1.0, 0.1, 1e-30, -3.7e200])
@given(t=trees(gaps=False))
def test_equal_rewards_give_exactly_zero(name: str, reward: float, t: Tree) -> None:
    for leaf in t.leaves():
        t.columns["reward"][leaf] = reward
    done = credited(t, name)
    assert not any(a for a in done.columns["advantage"] if a is not None)
    assert not any(done.columns["advantage_pos"]) and not any(done.columns["advantage_neg"])


@pytest.mark.parametrize("name", sorted({*NAMES} - {"shaped", "pvpo", "anchor"}))
@given(t=trees(gaps=False), near=st.sampled_from(ROUNDED))
def test_rewards_that_float32_rounds_apart_are_equal(
    name: str, t: Tree, near: tuple[float, float]
) -> None:
    for n, leaf in enumerate(t.leaves()):
        t.columns["reward"][leaf] = near[n % 2]
    done = credited(t, name)
    assert not any(a for a in done.columns["advantage"] if a is not None)
    assert mixed([done]).unmixed == 1


@pytest.mark.parametrize("low, high", [(1.0, 1.00001), (1e-9, 2e-9), (0.0, 1e-9)])
def test_small_differences_that_are_no_rounding_are_mixed(low: float, high: float) -> None:
    t = tree([0, 0], {1: low, 2: high})
    assert advantages(credited(t, "grpo", std="population")) == pytest.approx([-1, 1])


@pytest.mark.parametrize("reward", [0.0, 0.1])
@given(one=trees(gaps=False), two=trees("b"), three=trees("c"))
def test_an_unmixed_group_beside_mixed_ones_gives_exactly_zero(
    reward: float, one: Tree, two: Tree, three: Tree
) -> None:
    """Group baseline: whitening over the batch must not bring rounding noise back."""
    for leaf in one.leaves():
        one.columns["reward"][leaf] = reward
    batch = [copy(t) for t in (one, two, three)]
    credit(batch, "reinforce_pp", baseline="group")
    assert not any(advantages(batch[0]))


@pytest.mark.parametrize("std", ["sample", "population"])
@pytest.mark.parametrize("name", ["grpo", "tree_grpo", "reinforce_pp"])
@given(t=trees(), shift=st.sampled_from([-1.0, 0.5]), scale=st.sampled_from([0.25, 8.0]))
def test_standardised_credit_has_no_unit(
    name: str, std: str, t: Tree, shift: float, scale: float
) -> None:
    moved = copy(t)
    moved.columns["reward"] = [
        None if r is None else scale * r + shift for r in moved.columns["reward"]
    ]
    first, second = credited(t, name, std=std), credited(moved, name, std=std)
    assert advantages(second) == pytest.approx(advantages(first), abs=1e-6)
