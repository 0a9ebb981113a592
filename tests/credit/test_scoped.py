"""M-GRPO by hand: who is a delegation, what it earns, how often it counts; and its laws."""

from __future__ import annotations

from collections import Counter
from math import fsum, sqrt
from random import Random
from statistics import fmean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbeam.credit import credit
from hornbeam.credit.baselines import standardised, weighted
from hornbeam.credit.scoped import aligned, rollouts, walk
from hornbeam.errors import DataError
from hornbeam.tree.nodes import Node, Tree

ROOT2 = sqrt(2)


def tree(steps: list[tuple[int, str, float | None]], task: str = "q") -> Tree:
    """A tree of (parent, scope, reward) for nodes 1, 2, ...; the agent is told by the scope."""
    nodes = [Node(-1)]
    nodes += [Node(p, s.rpartition("/")[2].partition(".")[0] or "m", s) for p, s, _ in steps]
    return Tree({"id": task}, nodes, {"reward": [None, *(r for *_, r in steps)]})


def chain(outcome: float, *rewards: float, task: str = "q") -> Tree:
    """A rollout: the main agent, one delegation of one step for each reward, the main agent."""
    subs = [(n + 1, f"s.{n + 1}", reward) for n, reward in enumerate(rewards)]
    return tree([(0, "", None), *subs, (len(subs) + 1, "", outcome)], task)


def test_a_delegation_ends_at_its_last_node_on_a_path() -> None:
    # 1 main, 2 a.1, 3 b.1 at once, then a.1 goes on twice: at 4, and at 5 (which ends at once)
    t = tree(
        [
            (0, "", None),
            (1, "a.1", 0.1),
            (2, "b.1", 0.2),
            (3, "a.1", 0.3),
            (3, "a.1", 0.4),
            (4, "", 1),
            (5, "", 0),
        ]
    )
    assert dict(rollouts(t, [None] * 6 + [1, 0])) == {6: [3, 4], 7: [3, 5]}
    assert [i for i, _ in walk(t)] == [1, 2, 3, 4, 6, 5, 7]


def test_weights_by_hand() -> None:
    # rollouts of 2, 1 and 0 delegations, d = 8: weights 4, 4, 8. Mean of 1, 0 (4 each), 1 (8): 3/4.
    # population: 4 (1/4)^2 + 4 (3/4)^2 + 8 (1/4)^2 over 16 = 3/16; main: 1, 0, 1/2 about 1/2
    trees = [chain(1, 1, 0), chain(0, 1), chain(0.5)]
    credit(trees, "m_grpo", std="population")
    one, two, three = (t.columns for t in trees)
    spread = sqrt(3) / 4
    main = sqrt(1 / 6)
    assert one["advantage"] == pytest.approx(
        [None, None, 0.25 / spread, -0.75 / spread, 0.5 / main]
    )
    assert two["advantage"] == pytest.approx([None, None, 0.25 / spread, -0.5 / main])
    assert three["advantage"] == [None, None, 0.0]
    assert [c["mass"] for c in (one, two, three)] == [
        [None, None, 4.0, 4.0, None],
        [None, None, 8.0, None],
        [None, None, None],
    ]
    # the main agent's sums stand at its nodes and at the task, a delegation's at its own
    assert one["advantage_pos"] == pytest.approx(
        [0.5 / main, 0.5 / main, 0.25 / spread, 0, 0.5 / main]
    )
    assert one["advantage_neg"] == pytest.approx([0, 0, 0, -0.75 / spread, 0])
    assert one["leaves"] == [1, 1, 1, 1, 1]


def test_the_sample_std_is_the_unbiased_one_for_weights() -> None:
    # weights 4, 4, 8: N = 16 - (16 + 16 + 64)/16 = 10, so s^2 = 3/10
    trees = [chain(1, 1, 0), chain(0, 1)]
    credit(trees, "m_grpo")
    assert trees[0].columns["advantage"][3] == pytest.approx(-0.75 / sqrt(0.3))
    other = [chain(1, 1, 0), chain(0, 1)]
    credit(other, "m_grpo", d=3)  # the scale of the weights is no matter to the advantage
    assert other[0].columns["advantage"] == pytest.approx(trees[0].columns["advantage"])
    assert other[0].columns["mass"][2:4] == [1.5, 1.5]


def test_more_delegations_than_d() -> None:
    trees = [chain(1, 1, 0, 0, 0), chain(0, 1)]
    credit(trees, "m_grpo", d=2, std="population")
    # weights 1/2 each and 2: mean (1/2 + 2)/4 = 5/8, s^2 = 5/8 3/8
    spread = sqrt(15) / 8
    assert trees[0].columns["mass"][2:6] == [0.5] * 4
    assert trees[0].columns["advantage"][2:6] == pytest.approx(
        [0.375 / spread, *[-0.625 / spread] * 3]
    )


def test_resampling_fills_up_and_drops_to_d() -> None:
    trees = [chain(1, 1, 0, 0, 0), chain(0, 1), chain(1)]
    credit(trees, "m_grpo", align="resample", d=3, std="population")
    mass = trees[0].columns["mass"][2:6]
    assert sorted(mass, key=lambda m: m or 0) == [None, 1.0, 1.0, 1.0]
    assert [a is None for a in trees[0].columns["advantage"][2:6]] == [m is None for m in mass]
    assert trees[1].columns["mass"] == [None, None, 3.0, None]
    again = [chain(1, 1, 0, 0, 0), chain(0, 1), chain(1)]
    credit(again, "m_grpo", align="resample", d=3, std="population")
    assert [t.columns for t in again] == [t.columns for t in trees]
    drawn = set()
    for seed in range(20):
        credit(again, "m_grpo", align="resample", d=3, seed=seed)
        drawn.add(tuple(again[0].columns["mass"]))
    assert len(drawn) == 4  # each of the four was left out


def test_without_alignment_every_delegation_counts_once() -> None:
    trees = [chain(1, 1, 0, 0, 0), chain(0, 1), chain(1)]
    credit(trees, "m_grpo", align="none", d=3, std="population")
    assert trees[0].columns["mass"][2:6] == [1, 1, 1, 1] and trees[1].columns["mass"][2] == 1
    # 1, 0, 0, 0, 1: mean 0.4, s^2 = 0.24
    up, down = 0.6 / 0.24**0.5, -0.4 / 0.24**0.5
    assert trees[0].columns["advantage"][2:6] == pytest.approx([up, down, down, down])
    assert trees[1].columns["advantage"][2] == pytest.approx(up)


def test_tasks_are_resampled_apart() -> None:
    many = [chain(1, *[0.5] * 9, task=f"q{n}") for n in range(12)]
    credit(many, "m_grpo", align="resample")
    assert len({tuple(t.columns["mass"]) for t in many}) > 3


def test_global_sets_all_trajectories_against_one_mean() -> None:
    trees = [chain(1, 0), chain(0, 1)]
    credit(trees, "m_grpo", normalise="global", d=1, std="population")
    assert [t.columns["advantage"] for t in trees] == [[None, None, -1, 1], [None, None, 1, -1]]
    credit(trees, "m_grpo", normalise="global", d=3, std="population")  # weights 1 and 3
    assert trees[0].columns["advantage"] == [None, None, -1, 1]
    uneven = [chain(1, 1), chain(1, 0)]
    credit(uneven, "m_grpo", normalise="global", d=2, std="population")
    # weights 1, 1 (main) and 2, 2: mean 4/6, s^2 = 2/9
    assert uneven[1].columns["advantage"][2:] == pytest.approx([-ROOT2, 1 / ROOT2])


def test_agents_are_set_against_their_own() -> None:
    def one(outcome: float, a: float, b: float) -> Tree:
        return tree([(0, "", None), (1, "a.1", a), (2, "b.1", b), (3, "", outcome)])

    trees = [one(1, 10, 0.2), one(0, 30, 0.1)]
    credit(trees, "m_grpo", std="population")
    assert trees[0].columns["advantage"][2:] == pytest.approx([-1, 1, 1])
    assert trees[0].columns["mass"] == [None, None, 8.0, 8.0, None]
    credit(trees, "m_grpo", normalise="global")  # then both agents are one rollout's delegations
    assert trees[0].columns["mass"] == [None, None, 4.0, 4.0, None]


def test_a_shared_delegation_counts_in_each_rollout() -> None:
    # node 2 below both leaves; leaf 6 has a second delegation at 5
    t = tree([(0, "", None), (1, "s.1", 1), (2, "", 0), (2, "", None), (4, "s.2", 0), (5, "", 1)])
    credit([t], "m_grpo", std="population")
    c = t.columns
    # weights: node 2 counts 8 and 4, node 5 counts 4: mean 3/4
    assert c["mass"] == [None, None, 12.0, None, None, 4.0, None]
    assert c["advantage"][2] == pytest.approx(0.25 / (sqrt(3) / 4))
    assert c["leaves"] == [2, 2, 2, 1, 1, 1, 1]
    assert c["advantage_pos"][2] == pytest.approx(2 * c["advantage"][2])
    assert c["advantage_pos"][1] == 1.0 and c["advantage_neg"][1] == -1.0


def test_branches_inside_a_delegation_are_two_delegations() -> None:
    t = tree([(0, "", None), (1, "s.1", 7), (2, "s.1", 1), (2, "s.1", 0), (3, "", 1), (4, "", 0)])
    credit([t], "m_grpo", std="population")
    c = t.columns
    assert c["advantage"] == [None, None, None, 1, -1, 1, -1]  # 7 stands at no end: it is not read
    assert c["mass"] == [None, None, None, 8.0, 8.0, None, None]
    assert (c["advantage_pos"][2], c["advantage_neg"][2], c["leaves"][2]) == (1, -1, 2)


def test_a_node_may_end_a_delegation_on_one_path_only() -> None:
    t = tree([(0, "", None), (1, "s.1", 1), (2, "", 0), (2, "s.1", 0), (4, "", 1)])
    credit([t], "m_grpo", std="population")
    c = t.columns
    assert c["advantage"] == [None, None, 1, -1, -1, 1]
    assert c["leaves"] == [2, 2, 2, 1, 1, 1]


def test_who_ends_the_episode_shares_the_main_agents_outcome() -> None:
    trees = [
        tree([(0, "", None), (1, "s.1", None), (2, "s.1", 1)]),  # ends inside its delegation
        tree([(0, "s.1", None), (1, "s.1", 0)]),  # no main agent at all
        chain(1, 0.5),
        chain(0, 0.2),
    ]
    credit(trees, "m_grpo", std="population")
    assert trees[0].columns["advantage"] == [None, None, None, 1]
    assert trees[1].columns["advantage"] == [None, None, -1]
    assert trees[0].columns["advantage_pos"] == [1, 1, 1, 1]
    assert trees[1].columns["advantage_neg"] == [-1, -1, -1]
    assert trees[0].columns["mass"] == [None] * 4
    assert trees[2].columns["advantage"][2] == pytest.approx(1)  # of two delegations, not of four


def test_nested_delegations_are_delegations_of_their_own() -> None:
    def one(outcome: float, outer: float, inner: float) -> Tree:
        steps = [(0, "", None), (1, "a.1", None), (2, "a.1/b.1", inner), (3, "a.1", outer)]
        return tree([*steps, (4, "", outcome)])

    trees = [one(1, 0.3, 0.9), one(0, 0.6, 0.1)]
    credit(trees, "m_grpo", std="population")
    assert trees[0].columns["advantage"] == pytest.approx([None, None, None, 1, -1, 1])


def test_without_a_reward_or_a_scored_leaf_a_delegation_counts_nowhere() -> None:
    trees = [chain(1, 1), chain(0, 0), chain(1, 1)]
    trees[2].columns["reward"][2] = None
    failed = chain(0, 5)
    failed.columns["reward"][3] = None
    credit([*trees, failed], "m_grpo", std="population")
    assert [t.columns["advantage"][2] for t in (*trees, failed)] == [1, -1, None, None]
    assert trees[2].columns["leaves"] == [1, 1, 0, 1]
    assert failed.columns["leaves"] == [0] * 4 and failed.columns["mass"] == [None] * 4


def test_equal_rewards_of_delegations_give_exactly_zero() -> None:
    trees = [chain(1, 0.1, 0.1, 0.1), chain(0, 0.10000000149)]  # 0.1 in float32
    credit(trees, "m_grpo")
    assert [a for t in trees for a in t.columns["advantage"][2:-1]] == [0.0] * 4


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_reward_of_a_delegation_that_is_no_number_is_an_error(bad: float) -> None:
    with pytest.raises(DataError, match=r"task 'q', node 2: reward .* of a delegation is not"):
        credit([chain(1, bad)], "m_grpo")


def test_another_method_takes_the_mass_away() -> None:
    t = chain(1, 0.5)
    credit([t], "m_grpo")
    credit([t], "grpo")
    assert "mass" not in t.columns and t.columns["advantage"] == [None, None, None, 0.0]


# --- laws ----------------------------------------------------------------------------------------

SETS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 1.0]), st.lists(st.sampled_from([0.0, 0.1, 0.6, 1.0]), max_size=5)
    ),
    min_size=1,
    max_size=6,
)


@given(st.lists(st.sampled_from([0.0, 0.3, 1.0]), min_size=1, max_size=9), st.floats(0.1, 9))
def test_equal_weights_give_the_ordinary_scores_to_the_last_bit(
    rewards: list[float], weight: float
) -> None:
    for std in ("sample", "population"):
        assert weighted(rewards, [weight] * len(rewards), std) == standardised(rewards, std)


@given(st.lists(st.sampled_from([0.0, 0.3, 1.0]), min_size=1, max_size=8))
@pytest.mark.parametrize("align", ["weight", "resample"])
def test_one_delegation_a_rollout_and_d_of_one_is_grpo(align: str, rewards: list[float]) -> None:
    trees, plain = [chain(1, r) for r in rewards], [chain(r) for r in rewards]
    credit(trees, "m_grpo", align=align, d=1)
    credit(plain, "grpo")
    assert [t.columns["advantage"][2] for t in trees] == [t.columns["advantage"][-1] for t in plain]
    assert all(t.columns["mass"][2] == 1.0 for t in trees)


@given(SETS, st.integers(1, 9))
def test_weighted_credit_sums_to_zero_and_every_rollout_weighs_d(sets, d: int) -> None:
    trees = [chain(outcome, *rewards) for outcome, rewards in sets]
    credit(trees, "m_grpo", d=d)
    columns = [t.columns for t in trees]
    for c in columns:
        mass = [m for m in c["mass"] if m is not None]
        assert not mass or fsum(mass) == pytest.approx(d)
    pairs = [(m, a) for c in columns for m, a in zip(c["mass"], c["advantage"]) if m is not None]
    assert fsum(m * a for m, a in pairs) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("many", "d"), [(3, 8), (5, 2), (4, 4), (1, 6)])
def test_the_expected_copies_are_the_weight(many: int, d: int) -> None:
    rng, drawn, counts = Random(0), 1000, Counter()
    for _ in range(drawn):
        copies = [len(each) for each in aligned(many, d, rng)]
        assert sum(copies) == d
        counts.update(dict(enumerate(copies)))
    ((weight,), *_) = aligned(many, d)
    assert weight == d / many
    for i in range(many):
        assert counts[i] / drawn == pytest.approx(weight, abs=4 * sqrt(d / drawn))


WORLD = [[1, 0.1, 0.6], [0.1], [], [0, 0.6, 0.1, 0.1, 1], [1, 1]]


def gradients(rng: Random | None) -> tuple[list[float], list[float]]:
    """(what is linear in the copies, what is not) of one alignment of a world to d = 3.

    Linear: mean and mean square of the rewards of the batch, and sum of mass (R - 1/2), a gradient
    with a fixed baseline. Not linear: mass (R - mean)/std of the first rollout's delegations, as if
    each moved a parameter of its own.
    """
    copies = [
        ((k, i), r, w)
        for k, rewards in enumerate(WORLD)
        if rewards
        for i, (r, weights) in enumerate(zip(rewards, aligned(len(rewards), 3, rng)))
        for w in weights
    ]
    total = fsum(w for *_, w in copies)
    linear = [fsum(w * r**n for _, r, w in copies) / total for n in (1, 2)]
    linear.append(fsum(w * (r - 0.5) for _, r, w in copies))
    values = weighted([r for _, r, _ in copies], [w for *_, w in copies], "population")
    moved = [(key, w * a) for (key, _, w), a in zip(copies, values)]
    return linear, [fsum(a for key, a in moved if key == (0, i)) for i in range(3)]


def test_the_mean_of_many_resampled_alignments_is_the_weighted_one() -> None:
    """Exact for all that is linear in the copies: every alignment holds d of each rollout.

    (R - mean)/std is a ratio, so its mean over alignments is not quite the weighted one: here it
    is off by less than a tenth.
    """
    rng = Random(1)
    many = [gradients(rng) for _ in range(10_000)]
    for part, wanted in enumerate(gradients(None)):
        for k, value in enumerate(wanted):
            drawn = [one[part][k] for one in many]
            assert stdev(drawn) > 0
            margin = 4 * stdev(drawn) / 100 if part == 0 else 0.1 * abs(value)
            assert fmean(drawn) == pytest.approx(value, abs=margin), (part, k)
