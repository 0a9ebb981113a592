r"""Credit from states by hand and by laws.

ROLLOUTS     a - b      R = 1        nodes 1 2      the task's mean 1/3, sample std sqrt(1/3)
             a - c      R = 0              3 4
             a - b      R = 0              5 6
"""

from __future__ import annotations

import json
from math import fsum, sqrt
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from hornbeam.cli.main import app
from hornbeam.credit import credit
from hornbeam.tree.nodes import StepReward, Tree
from little_trees import tree, trees
from state_trees import credited, rollouts, unfolded

LINE = {
    "task": {"id": "q"},
    "nodes": [
        {"parent": -1},
        *({"parent": p, "state": s} for p, s in zip((0, 1, 0, 3, 0, 5), "abacab")),
    ],
    "columns": {"reward": [None, None, 1, None, 0, None, 0]},
}


def test_gigpo() -> None:
    s = sqrt(1 / 3)
    rollout = [2 / 3 / s, -1 / 3 / s, -1 / 3 / s]
    a = [2 / 3 / s, -1 / 3 / s, -1 / 3 / s]  # three visits of a: 1, 0, 0
    b = [0.5 / sqrt(0.5), -0.5 / sqrt(0.5)]  # two of b: 1, 0; c was seen once
    steps = [a[0], b[0], a[1], 0.0, a[2], b[1]]
    both = [x + y for x, y in zip([r for r in rollout for _ in "12"], steps)]
    assert credited(rollouts(), "gigpo")[1:] == pytest.approx(both)


def test_gigpo_without_std_discounted_and_weighted() -> None:
    # what followed a is 1/2, 0, 0: mean 1/6; what followed b is 1, 0
    got = credited(rollouts(), "gigpo", std="none", gamma=0.5, weight=2)[1:]
    steps = [1 / 3, 1 / 2, -1 / 6, 0, -1 / 6, -1 / 2]
    rollout = [2 / 3, 2 / 3, -1 / 3, -1 / 3, -1 / 3, -1 / 3]
    assert got == pytest.approx([r + 2 * x for r, x in zip(rollout, steps)])


def test_gigpo_shrinks_what_was_seen_seldom() -> None:
    # b has two visits: its part counts 2/(2 + 6); a has three: 3/(3 + 6)
    got = credited(rollouts(), "gigpo", std="none", n0=6)[1:]
    assert got[1] == pytest.approx(2 / 3 + 1 / 2 * 2 / 8)
    assert got[0] == pytest.approx(2 / 3 + 2 / 3 * 3 / 9)


def test_gigpo_counts_rewards_of_steps() -> None:
    # 1/4 for the step in c: returns 1, 1/4, 0 from a, mean 5/12; the rollouts' are the same
    t = rollouts()
    t.nodes[4] = t.nodes[4].changed(rewards=(StepReward(0.25),))
    got = credited(t, "gigpo", std="none")[1:]
    rollout = [7 / 12, -1 / 6, -5 / 12]
    assert got[::2] == pytest.approx([2 * r for r in rollout])
    assert got[1::2] == pytest.approx([7 / 12 + 1 / 2, -1 / 6, -5 / 12 - 1 / 2])


def test_gigpo_in_a_tree_is_the_mean_of_its_rollouts() -> None:
    # 1 (a) is shared by leaves 2 and 3 of 1 and 0; 4 (a) goes on to 5 of 0: a has 1, 0, 0
    t = tree([0, 1, 1, 0, 4], {2: 1.0, 3: 0.0, 5: 0.0}, states="abcab")
    got = credited(t, "gigpo", std="none")
    assert got[1] == pytest.approx((2 / 3 - 1 / 3) / 2 + (1 / 2 - 1 / 3))
    assert got[4] == pytest.approx(-1 / 3 - 1 / 3)


@pytest.mark.parametrize("std", ["sample", "population", "none"])
@given(t=trees(gaps=False), gamma=st.sampled_from([1.0, 0.5]))
def test_gigpo_of_a_tree_is_that_of_its_rollouts(std: str, t: Tree, gamma: float) -> None:
    flat, places = unfolded(t)
    whole = credited(t, "gigpo", std=std, gamma=gamma)
    parts = credited(flat, "gigpo", std=std, gamma=gamma)
    once = {n.state for n in t.nodes if sum(m.state == n.state for m in t.nodes) == 1}
    for i, at in enumerate(places):
        if i and t.nodes[i].state not in once:  # there the rollouts differ, and their mean is 0
            mean = fsum(parts[p] for p in at) / len(at)
            assert whole[i] == pytest.approx(mean, abs=1e-9)


@pytest.mark.parametrize("std", ["sample", "population"])
@given(t=trees(), gamma=st.sampled_from([1.0, 0.5]))
def test_unique_states_reduce_gigpo_to_grpo(std: str, t: Tree, gamma: float) -> None:
    nodes = [n.changed(state=f"{i}" if i % 2 else "") for i, n in enumerate(t.nodes)]
    alone = Tree(dict(t.task), nodes, t.columns)
    grpo, gigpo = credited(t, "grpo", std=std), credited(alone, "gigpo", std=std, gamma=gamma)
    leaves = t.leaves()
    assert [gigpo[i] for i in leaves] == pytest.approx([grpo[i] for i in leaves])
    assert credited(alone, "gigpo", std="none")[-1] == credited(t, "dr_grpo")[-1]


@given(rewards=st.lists(st.sampled_from([0.0, 1.0, 0.3]), min_size=2, max_size=6))
def test_one_state_for_all_doubles_dr_grpo(rewards: list[float]) -> None:
    """Chains of two steps, all in one state: a step is set against the same mean again."""
    parents = [p for i in range(len(rewards)) for p in (0, 2 * i + 1)]
    ends = {2 * i + 2: reward for i, reward in enumerate(rewards)}
    same = tree(parents, ends, states="a" * len(parents))
    plain, both = credited(same, "dr_grpo"), credited(same, "gigpo", std="none")
    for i in ends:
        assert both[i] == both[i - 1] == pytest.approx(2 * plain[i], abs=1e-9)


@pytest.mark.parametrize("std", ["sample", "none"])
@given(t=trees())
def test_step_advantages_sum_to_zero_over_the_visits_of_a_state(std: str, t: Tree) -> None:
    step = credited(t, "gigpo", std=std)
    rollout = credited(t, "gigpo", std=std, weight=0)
    t = Tree(dict(t.task), list(t.nodes), t.columns)
    credit([t], "gigpo")
    for state in "ab":
        here = [i for i, n in enumerate(t.nodes) if i and n.state == state and step[i] is not None]
        mass = fsum(t.columns["leaves"][i] * (step[i] - rollout[i]) for i in here)
        assert mass == pytest.approx(0, abs=1e-9)


def test_states_of_other_tasks_are_other_states() -> None:
    one, two = rollouts(), rollouts()
    two.task["id"] = "other"
    two.columns["reward"] = [None, None, 0, None, 1, None, 1]
    alone = credited(one, "gigpo")
    credit([one, two], "gigpo")
    assert one.columns["advantage"] == alone


def run(tmp_path: Path, line: object, *args: str) -> tuple[int, str, str]:
    file = tmp_path / "trees.jsonl"
    file.write_text(json.dumps(line) + "\n")
    got = CliRunner().invoke(app, ["credit", "gigpo", str(file), *args])
    return got.exit_code, got.stdout, got.stderr


def test_the_command_reads_states_and_writes_an_advantage_at_every_step(tmp_path: Path) -> None:
    code, out, _ = run(tmp_path, LINE, "--set", "std=none", "--set", "gamma=0.5")
    written = json.loads(out)
    assert code == 0 and written["nodes"] == LINE["nodes"]
    expected = [2 / 3 + 1 / 3, 2 / 3 + 1 / 2, -1 / 2, -1 / 3, -1 / 2, -1 / 3 - 1 / 2]
    assert written["columns"]["advantage"][1:] == pytest.approx(expected)


def test_the_command_says_where_a_state_is_no_text_and_where_there_is_none(tmp_path: Path) -> None:
    bad = {**LINE, "nodes": [{"parent": -1}, {"parent": 0, "state": 3}]}
    code, _, told = run(tmp_path, {**bad, "columns": {"reward": [None, 1]}})
    assert code == 2 and told.endswith("line 1: node 1: 'state' must be a string, not 3\n")
    bare = {**LINE, "nodes": [{"parent": n["parent"]} for n in LINE["nodes"]]}
    code, _, told = run(tmp_path, bare)
    assert code == 0 and "no step has a state: each counts as seen once" in told
