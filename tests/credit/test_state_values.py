r"""Credit from states with more than one group or with values: by hand and by laws.

ROLLOUTS     a - b      R = 1        nodes 1 2      texts  x - y
             a - c      R = 0              3 4             x - y
             a - b      R = 0              5 6             z - w
"""

from __future__ import annotations

from math import fsum, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbeam.credit import credit
from hornbeam.tree.nodes import Call, Tree
from little_trees import tree, trees
from state_trees import credited, rollouts, unfolded


def told() -> Tree:
    t = rollouts()
    for i, text in enumerate("xyxyzw", 1):
        t.nodes[i] = t.nodes[i].changed(text=text)
    return t


def test_hgpo() -> None:
    # a: 1, 0, 0, population std sqrt(2)/3, the only group of the first steps
    # b: 1, 0, and a-b: 1, 0: both 1 and -1; c was seen once, a-c too
    s = sqrt(2) / 3
    got = credited(rollouts(), "hgpo")[1:]
    assert got == pytest.approx([2 / 3 / s, 1, -1 / 3 / s, 0, -1 / 3 / s, -1])


def test_hgpo_weighs_groups_by_how_much_they_share() -> None:
    # b after a twice and once after d: returns 1, 0 | 0. Of b: 2/3, -1/3, -1/3; of a-b: 1/2, -1/2
    t = tree([0, 1, 0, 3, 0, 5], {2: 1.0, 4: 0.0, 6: 0.0}, states="ababdb")
    got = credited(t, "hgpo", std="none")
    assert got[2] == pytest.approx((2 * 2 / 3 + 3 * 1 / 2) / 5)
    assert got[4] == pytest.approx((2 * -1 / 3 + 3 * -1 / 2) / 5)
    assert got[6] == pytest.approx(-1 / 3)  # its group of two states is its own
    got = credited(t, "hgpo", std="none", alpha=2, base=True)
    assert got[2] == pytest.approx((1 * 2 / 3 + 4 * 2 / 3 + 9 * 1 / 2) / 14)


def test_rtmc() -> None:
    # a: V = 1/3, Q(x) = 1/2, Q(z) = 0; b: V = 1/2, Q(y) = 1, Q(w) = 0; c: V = Q = 0; mean(R) = 1/3
    assert credited(told(), "rtmc", n0=0)[1:] == pytest.approx(
        [1 / 6, 1 / 2, 1 / 6, 0, -1 / 3, -1 / 2]
    )
    # with two visits of 1/3 more: V'(a) = 1/3, V'(b) = (1 + 2/3)/4, V'(c) = (2/3)/3
    b, c = 5 / 12, 2 / 9
    got = credited(told(), "rtmc")[1:]
    assert got == pytest.approx([1 / 6, 1 - b, 1 / 6, -c, -1 / 3, -b])
    mean = fsum(got) / 6
    spread = sqrt(fsum((a - mean) ** 2 for a in got) / 6)
    assert credited(told(), "rtmc", scale="group")[1:] == pytest.approx([a / spread for a in got])


def test_rtmc_counts_the_first_visit_and_discounts() -> None:
    # a-x twice in the first rollout: only 1/2 of its first counts, and both steps share A
    t = tree([0, 1, 0], {2: 1.0, 3: 0.0}, states="aaa")
    for i in (1, 2, 3):
        t.nodes[i] = t.nodes[i].changed(text="x")
    t.nodes[3] = t.nodes[3].changed(text="y")
    got = credited(t, "rtmc", n0=0, gamma=0.5)
    assert got[1:] == pytest.approx([1 / 2 - 1 / 4, 1 / 2 - 1 / 4, -1 / 4])


def test_an_action_is_what_it_called() -> None:
    t = told()
    for i, a in ((1, 1), (5, 1), (3, 2)):
        t.nodes[i] = t.nodes[i].changed(calls=(Call("go", {"to": a}),))
    # a: go(1) has 1 and 0, go(2) has 0
    got = credited(t, "rtmc", n0=0)
    assert (got[1], got[3], got[5]) == pytest.approx((1 / 2 - 1 / 3, -1 / 3, 1 / 2 - 1 / 3))


def test_state_gae() -> None:
    # V(a) = 1/3, V(b) = 1/2, V(c) = 0
    td = [1 / 2 - 1 / 3, 1 - 1 / 2, 0 - 1 / 3, 0, 1 / 2 - 1 / 3, 0 - 1 / 2]
    assert credited(rollouts(), "state_gae", n0=0, lam=0)[1:] == pytest.approx(td)
    half = [td[0] + td[1] / 2, td[1], td[2] + td[3] / 2, td[3], td[4] + td[5] / 2, td[5]]
    assert credited(rollouts(), "state_gae", n0=0, lam=0.5)[1:] == pytest.approx(half)
    # one visit of 1/3 more: V'(a) = 1/3, V'(b) = 4/9, V'(c) = 1/6
    got = credited(rollouts(), "state_gae", n0=1, lam=0)[1:]
    v = {"a": 1 / 3, "b": 4 / 9, "c": 1 / 6}
    assert got == pytest.approx(
        [v["b"] - v["a"], 1 - v["b"], v["c"] - v["a"], -v["c"], v["b"] - v["a"], -v["b"]]
    )


@given(t=trees(gaps=False), gamma=st.sampled_from([1.0, 0.5]), lam=st.sampled_from([0.0, 0.5, 1]))
def test_values_of_a_tree_are_those_of_its_rollouts(t: Tree, gamma: float, lam: float) -> None:
    t.nodes[1:] = [n.changed(state=n.state or "c") for n in t.nodes[1:]]
    flat, places = unfolded(t)
    whole = credited(t, "state_gae", gamma=gamma, lam=lam)
    parts = credited(flat, "state_gae", gamma=gamma, lam=lam)
    for i, at in enumerate(places):
        if i:
            mean = fsum(parts[p] for p in at) / len(at)
            assert whole[i] == pytest.approx(mean, abs=1e-9)


@given(t=trees(gaps=False))
def test_differences_of_values_telescope_to_the_outcome(t: Tree) -> None:
    chains, _ = unfolded(t)
    got = credited(chains, "state_gae", lam=0)
    first: dict[str, list[float]] = {}
    for leaf in chains.leaves():
        path = chains.path(leaf)
        v = chains.columns["reward"][leaf] - fsum(got[i] for i in path)  # V' of the first state
        first.setdefault(chains.nodes[path[0]].state, []).append(v)
    for state, values in first.items():
        if state:
            assert values == pytest.approx([values[0]] * len(values), abs=1e-9)


@given(t=trees(gaps=False), gamma=st.sampled_from([1.0, 0.5]))
def test_with_all_of_lambda_it_is_the_step_part_of_gigpo(t: Tree, gamma: float) -> None:
    chains, _ = unfolded(t)
    how = {"gamma": gamma}
    whole = credited(chains, "gigpo", std="none", weight=0)
    both = credited(chains, "gigpo", std="none", **how)
    gae = credited(chains, "state_gae", lam=1, n0=0, **how)
    step = [b - a for a, b in zip(whole[1:], both[1:])]
    assert gae[1:] == pytest.approx(step, abs=1e-9)


@pytest.mark.parametrize("name", ["rtmc", "state_gae"])
@given(t=trees(gaps=False))
def test_unique_states_reduce_to_dr_grpo_as_visits_are_added(name: str, t: Tree) -> None:
    t.nodes[1:] = [n.changed(state=f"{i}") for i, n in enumerate(t.nodes[1:])]
    chains, _ = unfolded(t)
    chains.nodes[1:] = [n.changed(state=f"{i}") for i, n in enumerate(chains.nodes[1:])]
    plain = credited(chains, "dr_grpo")
    more = {"lam": 1} if name == "state_gae" else {}
    alone, shrunk = credited(chains, name, n0=0, **more), credited(chains, name, n0=1e9, **more)
    assert not any(alone[1:])
    for leaf in chains.leaves():
        for i in chains.path(leaf):
            assert shrunk[i] == pytest.approx(plain[leaf], abs=1e-6)


@given(rewards=st.lists(st.sampled_from([0.0, 1.0, 0.3]), min_size=2, max_size=6))
def test_one_state_for_all_and_one_step_is_dr_grpo(rewards: list[float]) -> None:
    same = tree([0] * len(rewards), dict(enumerate(rewards, 1)), states="a" * len(rewards))
    plain = pytest.approx(credited(same, "dr_grpo")[1:], abs=1e-9)
    for name, how in (("rtmc", {}), ("state_gae", {}), ("hgpo", {"std": "none"})):
        assert credited(same, name, **how)[1:] == plain


@given(t=trees(gaps=False))
def test_unique_states_leave_hgpo_the_base_alone(t: Tree) -> None:
    t.nodes[1:] = [n.changed(state=f"{i}") for i, n in enumerate(t.nodes[1:])]
    assert not any(credited(t, "hgpo")[1:])
    base, grpo = credited(t, "hgpo", base=True), credited(t, "grpo", std="population")
    assert [base[i] for i in t.leaves()] == pytest.approx([grpo[i] for i in t.leaves()])


@pytest.mark.parametrize("name", ["hgpo", "rtmc", "state_gae"])
@given(t=trees())
def test_nothing_is_written_above_what_failed(name: str, t: Tree) -> None:
    credit([t], name)
    a, n = t.columns["advantage"], t.columns["leaves"]
    assert all((a[i] is None) == (not n[i]) for i in range(1, len(t)))
