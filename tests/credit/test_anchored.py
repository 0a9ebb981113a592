r"""Credit against a prior: by hand, at both ends of the family, and what is refused.

    HAND      0           rewards: 3: 1   4: 0   5: 0   7: 1     prior 1/4 (of little_trees)
             / \
            1   6         N = 4, mean 1/2
           / \  |
          2   5 7
         / \
        3   4
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from hornbeam.cli.credit_command import credit_command
from hornbeam.credit import credit, method
from hornbeam.credit.anchored import Tracked, track
from hornbeam.errors import DataError, RecipeError
from hornbeam.tree.jsonl import json_line, to_json
from hornbeam.tree.nodes import Tree
from little_trees import tree, trees

LEAVES = (3, 4, 5, 7)


def hand() -> Tree:
    return tree([0, 1, 2, 2, 1, 0, 6], {3: 1.0, 4: 0.0, 5: 0.0, 7: 1.0})


def credited(t: Tree, name: str, **settings: object) -> list[float]:
    out = Tree(dict(t.task), list(t.nodes), {k: list(v) for k, v in t.columns.items()})
    credit([out], name, **settings)
    found = out.columns["advantage"]
    return [a for leaf in out.leaves() if (a := found[leaf]) is not None]


def test_pvpo() -> None:
    out = hand()
    credit([out], "pvpo")
    assert [out.columns["advantage"][i] for i in LEAVES] == [0.75, -0.25, -0.25, 0.75]
    assert out.columns["advantage_pos"][0] == 1.5 and out.columns["advantage_neg"][0] == -0.5
    assert out.columns["prior"][0] == 0.25


def test_anchor() -> None:
    # leaf 3: V = (4/4 + 0 + 0 + 1) / (4 + 3) = 2/7; leaf 4: V = (1 + 1 + 0 + 1) / 7 = 3/7
    expected = [5 / 7, -3 / 7, -3 / 7, 5 / 7]
    assert credited(hand(), "anchor") == pytest.approx(expected)
    # n0 = 1: leaf 3: V = (1/4 + 1) / 4; leaf 4: V = (1/4 + 2) / 4
    expected = [1 - 1.25 / 4, -2.25 / 4, -2.25 / 4, 1 - 1.25 / 4]
    assert credited(hand(), "anchor", n0=1) == pytest.approx(expected)


def test_leaves_of_all_trees_of_a_task_stand_in_for_each_other() -> None:
    one, two = tree([0], {1: 1.0}), tree([0, 0], {1: 0.0, 2: 1.0})
    credit([one, two], "anchor", n0=2)
    # V = (2/4 + sum of the other two) / 4
    assert one.columns["advantage"] == [None, pytest.approx(1 - 1.5 / 4)]
    assert two.columns["advantage"][1:] == pytest.approx([-2.5 / 4, 1 - 1.5 / 4])


@pytest.mark.parametrize("reward", [0.0, 1.0])
def test_an_unmixed_group_teaches_by_the_prior_until_the_prior_knows(reward: float) -> None:
    group = tree([0, 0, 0], dict.fromkeys((1, 2, 3), reward))
    assert credited(group, "pvpo") == pytest.approx([reward - 0.25] * 3)
    # n0 (R - V_prior) / (n0 + N - 1)
    assert credited(group, "anchor", n0=2) == pytest.approx([2 * (reward - 0.25) / 4] * 3)
    for near in (1e-12, 2.0**-23):  # rounding of float64, of float32
        group.columns["prior"][0] = reward * (1 + near)
        for name in ("pvpo", "anchor"):
            assert credited(group, name) == [0.0] * 3


@given(t=trees())
def test_without_weight_of_the_prior_it_is_rloo(t: Tree) -> None:
    rloo = credited(t, "rloo")
    del t.columns["prior"]
    assert credited(t, "anchor", n0=0) == pytest.approx(rloo, abs=1e-12)


@given(t=trees())
def test_with_all_weight_on_the_prior_it_is_pvpo(t: Tree) -> None:
    assert credited(t, "anchor", n0=1e12) == pytest.approx(credited(t, "pvpo"), abs=1e-9)


@given(t=trees(), n0=st.floats(0.01, 100), v=st.floats(-1, 2))
def test_it_is_each_outcome_against_its_own_baseline(t: Tree, n0: float, v: float) -> None:
    t.columns["prior"][0] = v
    rewards = [r for leaf in t.leaves() if (r := t.columns["reward"][leaf]) is not None]
    over, total = n0 + len(rewards) - 1, math.fsum(rewards)
    expected = [r - (n0 * v + total - r) / over for r in rewards]
    assert credited(t, "anchor", n0=n0) == pytest.approx(expected, abs=1e-9)


@given(t=trees(), n0=st.floats(0, 100))
def test_the_mean_of_the_credit_is_the_priors_share_of_the_mean_surprise(
    t: Tree, n0: float
) -> None:
    found, rewards = credited(t, "anchor", n0=n0), credited(t, "pvpo")
    n = len(found)
    share = n0 / (n0 + n - 1) if n0 + n > 1 else 0.0
    assert math.fsum(found) == pytest.approx(share * math.fsum(rewards), abs=1e-9)


def test_one_leaf_without_prior_is_zero() -> None:
    assert credited(tree([0], {1: 1.0}), "anchor", n0=0) == [0.0]
    assert credited(tree([0], {1: 1.0}), "anchor", n0=3) == [0.75]  # the prior alone


@pytest.mark.parametrize("name", ["pvpo", "anchor"])
def test_a_prior_that_is_missing_or_no_number_names_the_task(name: str) -> None:
    none = tree([0], {1: 1.0}, "t9")
    none.columns["prior"][0] = None
    bare = tree([0], {1: 1.0}, "t9")
    del bare.columns["prior"]
    for t in (none, bare):
        with pytest.raises(DataError, match=r"task 't9': no column 'prior'.*hornbeam anchor"):
            credit([hand(), t], name)
    none.columns["prior"][0] = math.nan
    with pytest.raises(DataError, match=r"task 't9': a prior of nan at node 0"):
        credit([none], name)
    one, two = tree([0], {1: 1.0}), tree([0], {1: 0.0})
    two.columns["prior"][0] = 0.5
    with pytest.raises(DataError, match=r"task 'q': its trees have priors from 0.25 to 0.5"):
        credit([one, two], name)
    assert "advantage" not in one.columns


@pytest.mark.parametrize("n0", [-1.0, math.inf, math.nan])
def test_weights_that_cannot_be(n0: float) -> None:
    with pytest.raises(RecipeError, match="'anchor': n0"):
        method("anchor", n0=n0)


def test_the_command_credits_by_the_prior_of_the_file(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(credit_command)
    file = tmp_path / "trees.jsonl"
    file.write_text(json_line(to_json(hand())))
    for words, name, settings in (
        (("pvpo", file), "pvpo", {}),
        (("anchor", file, "--set", "n0=8"), "anchor", {"n0": 8}),
    ):
        done = CliRunner().invoke(app, [str(word) for word in words])
        found = json.loads(done.stdout)["columns"]["advantage"]
        assert (done.exit_code, done.stderr) == (0, "")
        assert [found[i] for i in LEAVES] == credited(hand(), name, **settings)
    bare = hand()
    del bare.columns["prior"]
    file.write_text(json_line(to_json(bare)))
    done = CliRunner().invoke(app, ["pvpo", str(file)])
    assert done.stdout == "" and "task 'q': no column 'prior'" in done.stderr


def test_a_tracker_goes_towards_what_it_hears() -> None:
    # 0.5 + (1 - 0.75) (1 - 0.5) = 0.625, then 0.625 - 0.25 * 0.625
    first = track(Tracked(0.5), [1.0, 1.0], 0.75)
    assert (first.value, first.count) == (0.625, 1)
    assert track(first, [0.0], 0.75) == Tracked(0.46875, 2)
    assert track(first, [], 0.75) == first
    assert track(first, [0.25], 0.0) == Tracked(0.25, 2)  # no memory


@given(v=st.floats(0, 1), r=st.floats(0, 1), decay=st.floats(0, 0.99))
def test_a_tracker_stays_between_its_value_and_the_outcomes(
    v: float, r: float, decay: float
) -> None:
    after = track(Tracked(v), [r], decay).value
    assert min(v, r) - 1e-12 <= after <= max(v, r) + 1e-12
    for _ in range(3):
        before, after = after, track(Tracked(after), [r], decay).value
        assert abs(after - r) == pytest.approx(decay * abs(before - r), abs=1e-12)
