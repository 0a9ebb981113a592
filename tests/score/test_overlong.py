"""Answers that are cut off, and long runs: what they are paid, and how they are counted."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hornbeam as hb
from hornbeam.errors import RecipeError
from hornbeam.jobs.train.tree_metrics import cut_share, grown_figures, measure, unmixed_warning
from hornbeam.programs import make_program
from hornbeam.score.overlong import overlong
from hornbeam.score.rules import RewardSettings, make_scorer
from hornbeam.settings import build
from hornbeam.tree.nodes import INJECTED, Node, Origin, Tree, cut_off, ids


@pytest.mark.parametrize(
    ("tokens", "paid"),
    [(0, 0), (70, 0), (80, 0), (85, -0.25), (90, -0.5), (100, -1), (101, -1), (900, -1)],
)
def test_the_soft_overlong_punishment_by_hand(tokens, paid):
    assert overlong(tokens, length=100, buffer=20) == paid


@given(st.integers(0, 300), st.integers(1, 200), st.integers(1, 200))
def test_it_falls_from_0_to_minus_1(tokens, a, b):
    length, buffer = max(a, b), min(a, b)
    here, there = (overlong(n, length, buffer) for n in (tokens, tokens + 1))
    assert -1 <= there <= here <= 0
    if tokens >= length:
        assert here == -1


def said(text, most, **reward):
    """(reward, counts, tree) of an answer to a question whose answer is 125."""
    program, _ = make_program("single", {})
    (tree,) = hb.grow_trees(
        program,
        [hb.Task("t", "q", answer="125")],
        agents={"solver": hb.Speaker(hb.Scripted(text), hb.Sampling(max_tokens=most))},
        strategy=hb.Independent(n=1),
    )
    scorer = make_scorer(RewardSettings(rule="numeric", **reward))
    (value,) = asyncio.run(scorer.score(tree, tree.leaves()))
    return value, scorer.counts, tree


def test_a_beginning_that_is_right_is_paid_unless_it_is_told_not_to():
    for result, value in (("judged", 1.0), ("wrong", 0.0)):
        found, counts, tree = said("125000 apples", 3, cut_off=result)
        assert (found, counts["cut_off"]) == (value, int(result == "wrong"))
        assert tree.nodes[1].text == "125" and cut_off(tree, 1)
        whole, counts, tree = said("125", 9, cut_off=result)
        assert (whole, counts["cut_off"], cut_off(tree, 1)) == (1.0, 0, False)


def test_long_runs_pay():
    how = {"length": 8, "buffer": 4, "factor": 0.5}  # "125" and its end: 4 tokens
    assert said("125", 9, overlong=how)[0] == 1.0
    assert said("is 125", 9, overlong=how)[0] == 1 - 0.5 * 3 / 4
    assert said("it is 125 or so", 9, overlong=how)[0] == 0.5
    with pytest.raises(RecipeError, match="buffer = 9 is above length = 8"):
        build("reward", {"r": RewardSettings}, "r", {"overlong": {"length": 8, "buffer": 9}})


def grown(*finishes):
    """A tree of runs of one answer; None ends an episode without one, after the node before."""
    tree = Tree({"id": "q"})
    for n, finish in enumerate(finishes, 1):
        result = {"tokens": ids([1]), "finish": finish} if finish else {"finish": "end"}
        tree.append(Node(0 if finish else n - 1, done=True, **result))
    tree.column("reward")[1:] = [0.0] * len(finishes)
    return tree


def test_cut_off_answers_are_counted():
    tree = grown("length", None, "stop", "length", "chunk", "error")
    assert [cut_off(tree, i) for i in range(len(tree))] == [
        False, True, True, False, True, False, False,
    ]  # fmt: skip
    assert cut_share([tree]) == pytest.approx(2 / 3)
    assert grown_figures([tree], None)["cut_off"] == measure([tree])["cut_off"] == cut_share([tree])
    tree.nodes[4] = replace(tree.nodes[4], origin=Origin(version=INJECTED))
    assert cut_share([tree]) == 0.5
    assert cut_share([grown("error")]) == 0.0


def test_a_step_that_teaches_nothing_says_why():
    many = grown_figures([grown("length", "length", "stop")], None)
    assert "67 % of the answers were cut off at max_tokens" in unmixed_warning(many)
    few = grown_figures([grown("length", "stop")], None)
    assert "cut off" not in unmixed_warning(few)
    for row in (many, few):
        assert unmixed_warning(row).startswith("all 1 groups have equal rewards")
