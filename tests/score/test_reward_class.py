"""A reward that is a class: made once in a process, with settings; or the protocol of scorers."""

import asyncio

import pytest

from hornbeam.errors import HornbeamError
from hornbeam.score.reward_function import named_function
from hornbeam.score.rules import RewardSettings, make_scorer
from hornbeam.tree.nodes import Node, Tree

FILE = """\
class Counting:
    def __init__(self, bonus: float = 0.0):
        self.asked, self.bonus = 0, bonus

    def score(self, task, answer):
        self.asked += 1
        return (answer == task.answer) + 10 * self.asked + self.bonus

class Scorer:
    column = "reward"

    async def score(self, tree, nodes):
        if tree.nodes[nodes[0]].answer == "two":
            return [1.0, 2.0]
        return [float(len(tree.nodes[i].answer)) for i in nodes]

class Called:
    async def __call__(self, answer):
        raise ValueError("not " + answer)

class Broken:
    def __init__(self):
        raise OSError("no model here")

    def score(self, answer):
        return 1.0

class Nothing:
    pass

class Wrong:
    def score(self, anwser):
        return 1.0
"""


@pytest.fixture
def base(tmp_path):
    (tmp_path / "mine.py").write_text(FILE, "utf-8")
    return tmp_path


def scored(base, name, *answers, **settings):
    """(rewards, what was told)."""
    told: list[str] = []
    nodes = [Node(-1), *(Node(0, done=True, answer=answer) for answer in answers)]

    async def run():
        how = RewardSettings(rule=f"mine.py:{name}", workers=1, **settings)
        scorer = make_scorer(how, base, told.append)
        try:
            given = Tree({"id": "t", "question": "?", "answer": "4"}, nodes)
            return [(await scorer.score(given, [i]))[0] for i in range(1, len(nodes))]
        finally:
            await scorer.aclose()

    return asyncio.run(run()), told


def test_an_object_is_made_once_and_keeps_what_it_holds(base):
    assert scored(base, "Counting", "4", "5", bonus=0.5) == ([11.5, 20.5], [])


def test_the_protocol_of_scorers_is_one(base):
    rewards, told = scored(base, "Scorer", "four", "two", "seven")
    assert rewards == [4.0, None, 5.0] and "a list of one is due" in told[0]


@pytest.mark.parametrize(
    ("name", "line"),
    [("Called", "ValueError: not x (mine.py:19)"), ("Broken", "OSError: no model here")],
)
def test_what_raises_is_no_reward(base, name, line):
    rewards, told = scored(base, name, "x", "x")
    assert rewards == [None, None] and line in told[0] and len(told) == 1


@pytest.mark.parametrize(
    ("name", "settings", "line"),
    [
        ("Nothing", {}, "class Nothing of mine.py has no method score"),
        ("Wrong", {}, "mine.py: Wrong: score takes 'anwser', which a reward is not given: did"),
        ("Counting", {"bonsu": 1}, "mine.py: Counting has no setting 'bonsu': did you mean"),
        ("Counting", {"bonus": "much"}, "mine.py: Counting: bonus = 'much': expected a number"),
    ],
)
def test_a_wrong_class_is_one_line(base, name, settings, line):
    with pytest.raises(HornbeamError) as caught:
        named_function(f"mine.py:{name}", base, settings)
    assert line in str(caught.value) and "\n" not in str(caught.value)
