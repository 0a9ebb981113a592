"""Labels by rollouts: where they fork, Q and labels by hand, and when they may stop early."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbeam.errors import DataError, RecipeError
from hornbeam.search import Fork, Rollouts, State, restore
from hornbeam.search.chunk_labels import (
    abs_q,
    apply,
    chunk_label,
    methods,
    rel_effective,
    rel_ratio,
)
from hornbeam.search.labels import account, alone
from hornbeam.tree.nodes import Node, Origin, Tree, ids
from search.by_hand import end, step, task
from search.test_contract import grown

TWO = Rollouts(rollouts=2)


def trunk() -> Tree:
    """0 - 1 - 2 - 3, which ends well: Q of it is 1."""
    tree = task()
    two = step(tree, step(tree, 0, 0), 0, at=1)
    tree.columns["reward"][end(tree, two, 0, "a", at=2)] = 1.0
    return tree


def rolled(*rewards: float | None) -> Tree:
    """The trunk with two rollouts of one step at 0, 1 and 2: nodes 4 to 9, with these rewards."""
    tree = trunk()
    for number, reward in enumerate(rewards):
        i = end(tree, number // 2, 1 + number, "b")
        tree.columns["reward"][i] = reward
    return tree


def labels(name: str, tree: Tree, **thresholds: float) -> list[float | None]:
    """The labels of steps 1 to 3."""
    tree.columns |= TWO.columns(tree)
    return apply(tree, name, thresholds)[1:4]


# --- where rollouts fork -------------------------------------------------------------------------


def test_rollouts_fork_at_the_task_and_at_every_step_but_the_last() -> None:
    assert TWO.ask(Tree({"id": "q"}), State()) == [Fork(0, 0), Fork(1, 0), Fork(2, 0)]
    tree = trunk()
    assert TWO.ask(tree, State({0: 0, 1: 0, 2: 0}, {0: 3})) == []  # the task's are out
    tree = rolled(1, 0)
    forks = [Fork(3, 1), Fork(4, 1), Fork(5, 2), Fork(6, 2)]
    assert TWO.ask(tree, restore(tree)) == forks
    assert TWO.ask(rolled(1, 0, 1, 1, 0, 0), restore(rolled(1, 0, 1, 1, 0, 0))) == []


def test_a_second_trunk_has_rollouts_of_its_own_and_the_task_none_anew() -> None:
    how, tree = Rollouts(trunks=2, rollouts=1, depth=4), task()
    for episode in (0, 1):
        end(tree, step(tree, 0, episode), episode, "a", at=1)  # 0 - 1 - 2, 0 - 3 - 4
    end(tree, 0, 2, "b")
    assert how.ask(tree, restore(tree)) == [Fork(3, 1), Fork(7, 3)]


def test_nothing_is_rolled_out_where_a_trunk_failed_nor_beyond_depth() -> None:
    tree = task()
    one = step(tree, 0, 0, error="PromptTooLong: no")
    end(tree, step(tree, one, 0, at=1), 0, "a", at=2)
    end(tree, 0, 1, "b")
    assert Rollouts(rollouts=1, depth=2).ask(tree, restore(tree)) == [Fork(3, 2)]
    assert Rollouts(rollouts=1, depth=1).ask(tree, restore(tree)) == []


# --- Q and labels by hand ------------------------------------------------------------------------


def test_q_is_the_mean_of_the_rollouts_forked_exactly_there() -> None:
    found = TWO.columns(rolled(1, 0, 1, 1, 0, 0))
    assert found["q"] == [0.5, 1, 0, 1, *[None] * 6]  # 3 ended: its own outcome
    assert found["visits"] == [2, 2, 2, 1, *[None] * 6]


def test_rollouts_without_a_reward_do_not_count_and_others_are_held_to_one() -> None:
    found = TWO.columns(rolled(None, 0.5, None, None, -0.2, 3.0))
    assert found["q"][:4] == [0.5, None, 0.5, 1]
    assert found["visits"][:4] == [1, 0, 2, 1]


def test_formulas_by_hand() -> None:
    assert [abs_q(0), abs_q(0.0625), abs_q(1), abs_q(0.5, over=0.5)] == [-1, 1, 1, -1]
    # Qn(1/2) = 15/16, Qn(1) = 1: 1/2 - alpha (1/16) > 0; Qn(1/8) = 0.4138
    assert rel_effective(0.5, 1.0) == 1
    assert 0.125 + 0.8 * (0.41382 - 15 / 16) < 0 < 0.125 + 0.2 * (0.41382 - 15 / 16)
    assert [rel_effective(0.125, 0.5), rel_effective(0.125, 0.5, alpha=0.2)] == [-1, 1]
    assert rel_effective(0.125, 0.5, power=1) == -1  # 1/8 - 0.3
    assert [rel_ratio(0.7, 1.0), rel_ratio(0.75, 1.0), rel_ratio(0.35, 0.5)] == [-1, 1, -1]
    assert [rel_ratio(0.75, 1.0, gamma=0.8), rel_ratio(0.25, 0.3125, gamma=0.8)] == [-1, -1]


def test_zero_and_one_before_and_after() -> None:
    pairs = [(0, 0), (0, 1), (0.0625, 0), (1, 0), (1, 1)]
    assert [rel_effective(*pair) for pair in pairs] == [-1, -1, 1, 1, 1]
    assert [rel_ratio(*pair) for pair in pairs] == [-1, -1, 1, 1, 1]


def test_with_one_rollout_all_three_say_whether_it_succeeded() -> None:
    for q in (0, 1):
        for before in (0, 1):
            found = {chunk_label(name).label(q, before) for name in methods}
            assert found == {1 if q else -1}


def test_labels_of_a_tree_by_hand() -> None:
    assert labels("abs_q", rolled(1, 0, 1, 1, 0, 0)) == [1, -1, 1]
    assert labels("rel_ratio", rolled(1, 0, 1, 1, 0, 0)) == [1, -1, 1]  # 2, 0, from 0
    assert labels("rel_ratio", rolled(1, 1, 1, 0, 0, 1)) == [-1, 1, 1]  # 1/2, 1, 2
    assert labels("rel_ratio", rolled(1, 1, 1, 0, 0, 1), gamma=0.4) == [1, 1, 1]
    # 1/2 + alpha (15/16 - 1) = 0.45 and, at alpha 9, -0.0625
    assert labels("rel_effective", rolled(1, 1, 1, 0, 0, 1)) == [1, 1, 1]
    assert labels("rel_effective", rolled(1, 1, 1, 0, 0, 1), alpha=9) == [-1, 1, 1]


def test_where_q_is_unknown_there_is_no_label() -> None:
    tree = rolled(1, 0, None, None, 1, 0)
    assert labels("abs_q", tree) == [None, 1, 1]
    assert labels("rel_ratio", tree) == [None, None, 1]  # 2 has nothing to go on from
    assert tree.columns["label"][0] is None and tree.columns["label"][4:] == [None] * 6


def test_what_is_no_share_is_told() -> None:
    tree = task()
    with pytest.raises(DataError, match=r'no column "q".*--method rollouts'):
        apply(tree, "abs_q", {})
    end(tree, 0, 0, "a")
    tree.columns["q"] = [0.5, -0.5]
    with pytest.raises(DataError, match=r"node 1 has -0.5 .* MCTS lie in \[-1, 1\]"):
        apply(tree, "abs_q", {})
    assert "label" not in tree.columns
    with pytest.raises(RecipeError, match=r"unknown chunk label 'rel_rato': .*'rel_ratio'"):
        apply(tree, "rel_rato", {})
    with pytest.raises(RecipeError, match="has no setting 'gama': did you mean 'gamma'"):
        apply(tree, "rel_ratio", {"gama": 1})


# --- stopping early ------------------------------------------------------------------------------


def test_one_success_settles_abs_q() -> None:
    how = Rollouts(rollouts=3, adaptive=True, batch=1)
    tree = trunk()  # rollouts of 0: episodes 1 to 3, of 1: 4 to 6, of 2: 7 to 9
    tree.columns["reward"][end(tree, 0, 1, "b")] = 1.0
    assert how.ask(tree, restore(tree)) == [Fork(4, 1), Fork(7, 2)]
    for node, episode, reward in ((1, 4, 0.0), (2, 7, 1.0)):
        tree.columns["reward"][end(tree, node, episode, "b")] = reward
    assert how.ask(tree, restore(tree)) == [Fork(5, 1)]
    tree.columns["reward"][end(tree, 1, 5, "b")] = 1.0
    assert how.ask(tree, restore(tree)) == []


def test_a_ratio_is_settled_when_the_missing_rollouts_cannot_change_it() -> None:
    how = Rollouts(rollouts=4, adaptive=True, batch=2, settles="rel_ratio")
    tree = task()
    tree.columns["reward"][end(tree, step(tree, 0, 0), 0, "a", at=1)] = 1.0  # 0 - 1 - 2
    for episode in (1, 2):
        tree.columns["reward"][end(tree, 0, episode, "b")] = 0.0
    assert how.ask(tree, restore(tree)) == [Fork(3, 0), Fork(4, 0), Fork(5, 1), Fork(6, 1)]
    for node, episode in ((0, 3), (0, 4), (1, 5), (1, 6)):
        tree.columns["reward"][end(tree, node, episode, "b")] = float(episode > 4)
    # 0: Q = 0, all told. 1: Q is 2/4 at least, so 1 is good. 2 is 1 after at most 1: good
    assert how.ask(tree, restore(tree)) == []


few = settings(max_examples=25)


@pytest.mark.parametrize("name", methods)
@few
@given(seed=st.integers(0, 999), batch=st.integers(1, 3), trunks=st.integers(1, 2))
def test_labels_of_rollouts_that_stop_early_are_those_of_all(
    name: str, seed: int, batch: int, trunks: int
) -> None:
    every = Rollouts(trunks=trunks, rollouts=6)
    early = Rollouts(trunks=trunks, rollouts=6, adaptive=True, batch=batch, settles=name)
    found = []
    for how in (every, early):
        tree = grown(how, seed).tree
        tree.columns |= how.columns(tree)
        apply(tree, name, {})
        marks = {
            (n.origin.episode, n.origin.step): v for n, v in zip(tree.nodes, tree.columns["label"])
        }
        found.append({place: v for place, v in marks.items() if place[0] < trunks})
        found[-1]["leaves"] = len(tree.leaves())
    assert found[1].pop("leaves") <= found[0].pop("leaves")
    assert found[0] == found[1]


def test_settings_that_cannot_be_are_told() -> None:
    with pytest.raises(RecipeError, match="unknown chunk label 'abs'"):
        Rollouts(settles="abs")
    with pytest.raises(RecipeError, match="has no setting 'gamma'"):
        Rollouts(settles="abs_q", thresholds={"gamma": 0.5})


# --- what it costs -------------------------------------------------------------------------------


def spoken() -> Tree:
    """A prompt of 10; the trunk says 4, then 3 and 2; rollouts of 0 (5 ids), 1 (6) and 2 (1)."""
    tree = Tree({"id": "q"})
    one = tree.append(Node(0, "a", prompt=ids(range(10)), tokens=ids([1] * 4), finish="chunk"))
    two = tree.append(Node(one, "a", tokens=ids([2] * 3), finish="chunk", origin=Origin(step=1)))
    tree.append(Node(two, "a", tokens=ids([3] * 2), origin=Origin(step=2), done=True))
    above = {"prefix": one, "keep": 10}
    tree.append(Node(0, "a", **above, tokens=ids([4] * 5), origin=Origin(1), done=True))
    tree.append(Node(one, "a", tokens=ids([5] * 6), origin=Origin(2), done=True))
    tree.append(Node(two, "a", tokens=ids([6]), origin=Origin(3), done=True))
    return tree


def test_what_rollouts_cost_alone_by_hand() -> None:
    # 10 + 9, 10 + 5, 10 + 4 + 6, 10 + 7 + 1
    assert alone(spoken()) == 19 + 15 + 20 + 18 == 72
    costs = {"prompt_tokens_computed": 13, "sampled_tokens": 21, "prompt_tokens_cached": 40}
    assert account([spoken()], costs) == {
        "tokens_computed": 34,
        "tokens_alone": 72,
        "times_cheaper": pytest.approx(72 / 34),
    }


def test_a_later_ask_of_an_episode_goes_on_from_what_the_episode_holds() -> None:
    tree = Tree({"id": "q"})
    one = tree.append(Node(0, "a", prompt=ids([1, 2, 3]), tokens=ids([4, 5])))
    said = {"prompt": ids([6, 7]), "tokens": ids([8]), "done": True}
    tree.append(Node(one, "a", origin=Origin(0, 1, 1), **said))
    tree.append(
        Node(one, "a", origin=Origin(1, 0, 1), **said)
    )  # forked: all 7 of its context are its own
    assert alone(tree) == (3 + 2 + 2 + 1) + (7 + 1)
