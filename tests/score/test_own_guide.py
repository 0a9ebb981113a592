"""Guides of one's own: functions and classes, what they give looked at, their settings checked."""

import asyncio

import pytest

from hornbeam.errors import HornbeamError, ScoreError
from hornbeam.own.own_parts import find_part
from hornbeam.score.likelihood import LikelihoodGuide
from hornbeam.score.own_guide import OwnGuide
from hornbeam.tree.nodes import Node, Origin, Tree, floats

MINE = """
from hornbeam.protocols import Opinions
from hornbeam.score.likelihood import LikelihoodGuide


class Mine(LikelihoodGuide):
    pass


class Counted:
    def __init__(self, column, cost: int = 2):
        self.column, self.cost, self.gone = column, cost, []

    def most(self, tree, nodes):
        return 10 * len(nodes)

    def judge(self, tree, nodes):
        return Opinions([1] * len(nodes), self.cost * len(nodes))


class Dumb:
    pass


def steps(tree, node, scale: float = 1.0):
    return scale * len(tree.nodes[node].tokens)


async def late(tree, node):
    return 0.5


def raises(tree, node):
    return 1 / 0


def text(tree, node):
    return "good"


class Short:
    def judge(self, tree, nodes):
        return [1.0]
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path


def tree():
    made = Tree({"id": "t", "question": "q"})
    for n, error in enumerate(["", "it failed", ""]):
        says = {"tokens": [1] * (n + 1), "logprobs": floats([-0.5 * n - 0.1] * (n + 1))}
        made.append(Node(0, "a", origin=Origin(n), error=error, **says))
    return made


def guide(folder, name, **settings):
    return OwnGuide("mine", find_part("guide", f"mine.py:{name}", (), folder), settings)


def values(found, nodes=(1, 2, 3)):
    return asyncio.run(found.judge(tree(), nodes))


def test_an_own_copy_of_a_ready_made_guide_says_the_same(folder):
    mine = guide(folder, "Mine", over="step", join="sum")
    assert values(mine) == values(LikelihoodGuide("mine", "step", "sum"))
    assert (mine.column, mine.most(tree(), [1])) == ("mine", 0)


def test_functions_and_classes(folder):
    assert values(guide(folder, "steps", scale=2)).values == [2, None, 6]
    assert values(guide(folder, "late")).values == [0.5, None, 0.5]
    counted = guide(folder, "Counted", cost=3)
    assert counted.most(tree(), [1, 2]) == 20
    said = values(counted)
    assert (said.values, said.tokens) == ([1.0, 1.0, 1.0], 9)
    asyncio.run(counted.aclose())


@pytest.mark.parametrize(
    ("name", "settings", "line"),
    [
        ("Dumb", {}, "mine.py: Dumb is no guide: it has no method judge(self, tree, nodes)"),
        ("Mine", {"ovr": 1}, "mine.py: Mine has no setting 'ovr': did you mean 'over'?"),
        ("Mine", {"over": "all"}, "Mine: over = 'all': expected 'step' or 'path'"),
        ("steps", {"scale": "x"}, "steps: scale = 'x': expected a number"),
        ("stpes", {}, "guide: mine.py has no 'stpes': did you mean 'steps'?"),
    ],
)
def test_what_is_wrong_is_one_line(folder, name, settings, line):
    with pytest.raises(HornbeamError) as told:
        guide(folder, name, **settings)
    assert line in str(told.value) and "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        (
            "raises",
            "guides.mine: mine.py: raises: ZeroDivisionError: division by zero (mine.py:34)",
        ),
        ("text", "guides.mine: mine.py: text: give a finite number or None, not the text 'good'"),
        ("Short", "guides.mine: mine.py: Short gave 1 values for 3 steps"),
    ],
)
def test_what_it_gives_is_looked_at(folder, name, line):
    with pytest.raises(ScoreError) as told:
        values(guide(folder, name))
    assert line in str(told.value)
