"""Which answers count together: by the rule alone, in an order that does not matter, at once."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbeam.engine.scripted import Scripted
from hornbeam.grow.effects import Speaker
from hornbeam.grow.grower import Grower
from hornbeam.programs import make_program
from hornbeam.score import RewardSettings, rules
from hornbeam.score.alike import Alike, AlikeGuide
from hornbeam.score.rules import answer_key
from hornbeam.search import Vote
from hornbeam.search.choose import choose
from hornbeam.store.database import TreeKey
from hornbeam.tasks import Task
from hornbeam.tree.nodes import Node, Origin, Tree
from score import sleeper


def classes(rule, *answers, **values):
    """For each answer the place of the first of its class."""

    async def run():
        alike = Alike(RewardSettings(rule=rule, **values))
        try:
            same = await alike.same(answers)
            found = [same(answer) for answer in answers]
            return [found.index(each) for each in found]
        finally:
            await alike.aclose()

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("rule", "answers", "found"),
    [
        ("exact", ["-5", "5", "<", ">", "Ab", "ab", " 5 "], [0, 1, 2, 3, 4, 5, 1]),
        ("em", ["the Cat", "cat!", "dog", "+", "-", "+"], [0, 0, 2, 3, 4, 3]),
        ("f1", ["cat dog", "Dog, cat", "cat"], [0, 0, 2]),
        ("numeric", ["1234567", "1234568", "9", "$9.0", "9 m", "a", "a "], [0, 1, 2, 2, 2, 5, 5]),
        ("numeric", ["1/3", "0.3333333", "33.33333%", "0.33"], [0, 0, 0, 3]),
        ("reasoning_gym", ["R U R'", "R U R", "R U R'"], [0, 1, 0]),
        ("exact", [None, {"answer": None}, "None"], [0, 0, 2]),
    ],
)  # fmt: skip
def test_classes_by_hand(rule, answers, found):
    assert classes(rule, *answers) == found


def test_classes_of_mathematics():
    said = [
        r"\frac{\sqrt{3}}{2}",
        "2",
        r"\sqrt{4}",
        r"\sqrt{0.75}",
        "x+1",
        "1+x",
        "y+1",
        "2.0",
        "(1,2)",
    ]
    assert classes("symbolic", *said, seconds=20.0) == [0, 1, 1, 0, 4, 4, 6, 1, 8]


def test_an_answer_that_hangs_the_checker_stands_alone(monkeypatch):
    monkeypatch.setattr("hornbeam.score.checker_pool.COMMAND", sleeper.COMMAND)
    said = ["x+1", sleeper.FOREVER, "1+x", "y", sleeper.FOREVER]
    assert classes("symbolic", *said, seconds=2.0) == [0, 1, 0, 3, 1]


NEAR = ["1/3", "0.3333333", "0.33333334", "0.3333334", "33.33333%", "1", "1.0", "100%", "x", "x "]


@settings(max_examples=50)
@given(st.lists(st.sampled_from(NEAR), min_size=1, max_size=8), st.integers(1, 8))
def test_a_prefix_has_the_same_classes_and_all_are_equal_to_the_first(answers, many):
    found = classes("numeric", *answers)
    assert classes("numeric", *answers[:many]) == found[:many]
    for answer, first in zip(answers, found):
        assert answer.strip() == answers[first].strip() or rules["numeric"](answer, answers[first])


@given(
    st.lists(st.text(max_size=6), min_size=2, max_size=2), st.sampled_from(["exact", "em", "f1"])
)
def test_keys_are_equal_where_the_rule_says_so(answers, rule):
    left, right = map(answer_key(rule), answers)
    if all(answers):
        assert (left == right) == (rules[rule](*answers) == 1.0)


# --- votes that end early -------------------------------------------------------------------------

SAID = ["18", "18", "18", "17", "17.0", "$17", "17", "17.00", "18"]


def grown(said, guides=()):
    """A vote of at most nine over what a scripted engine says, one episode at a time."""
    program, _ = make_program("single", {})
    how = Vote(n=len(said), parallel=1)
    grower = Grower(program, {"solver": Speaker(Scripted(list(said)))}, how, guides=guides)
    task = Task("t", "q").to_json()

    async def run():
        return await grower.grow_all([(TreeKey("s", 0, 0), Tree(task))])

    return asyncio.run(run())[0]


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        (SAID, 8),  # 5 to 3, one to come; by texts 18 would win
        (["18", "18.0", "$18", "18", "18 ", "17", "17", "17", "17"], 5),
        (["1", "2", "3", "4", "5", "5.0", "5", "5.00", "6"], 8),  # 4 to 1, one to come
    ],
)
def test_a_vote_ends_when_the_rule_says_that_nobody_can_catch_up(said, asked):
    alike = Alike(RewardSettings(rule="numeric"))
    tree = grown(said, [AlikeGuide(alike)])
    same = asyncio.run(alike.of_trees([tree]))[0]
    assert len(tree.leaves()) == asked
    places = tree.columns["alike"][1:]
    first = {place: same(tree.nodes[i].answer) for i, place in enumerate(places, 1)}
    assert all(first[p] == same(tree.nodes[i].answer) for i, p in enumerate(places, 1))
    assert len(set(first.values())) == len(first)


def test_without_the_rule_a_vote_is_not_ended_by_spellings():
    tree = grown(SAID)
    same = answer_key("numeric")
    assert (
        len(tree.leaves()) == 9 and same(tree.nodes[choose(tree, "majority", same)].answer) == "17"
    )


def test_a_tree_without_classes_gets_them():
    tree = Tree({"id": "t"})
    for episode, answer in enumerate(["5", "5.0", None, "6"]):
        error = "no" if episode == 3 else ""
        tree.append(Node(0, origin=Origin(episode), answer=answer, done=True, error=error))
    guide = AlikeGuide(Alike(RewardSettings(rule="numeric")))
    opinions = asyncio.run(guide.judge(tree, [1, 2, 3, 4]))
    assert opinions.values == [0.0, 0.0, None, None] and opinions.tokens == 0
