"""A reward of one's own: what it is given, what gives no reward, what is told before anything."""

import asyncio
from dataclasses import replace

import pytest

from hornbeam.errors import HornbeamError
from hornbeam.jobs.score.score_trees import ByRule, ScoreSummary
from hornbeam.recipe.recipe import Recipe
from hornbeam.recipe.toml import parse
from hornbeam.score.alike import Alike
from hornbeam.score.reward_function import named_function
from hornbeam.score.rules import RewardSettings, make_scorer
from hornbeam.tree.nodes import Call, Node, Tree

FILE = """\
import asyncio, os, time

def score(task, answer):
    return answer == task.answer  # true is 1

async def waits(answer, *, bonus=0.25):
    await asyncio.sleep(0)
    return len(answer) + bonus

def sees(task, answer, tree, leaf, calls, text):
    print("what a function prints is no reward")
    assert tree.nodes[leaf].answer == answer and tree.task["id"] == task.id == "t"
    return 10 * len(tree) + len(calls[0].arguments["x"]) + 100 * text.count("so")

def hostile(answer):
    if answer == "raises":
        raise ValueError("no such thing\\nat all")
    if answer == "leaves":
        raise SystemExit(3)
    if answer == "hangs":
        time.sleep(600)
    if answer == "dies":
        os._exit(1)
    return {"nan": float("nan"), "text": "1.0", "list": [1.0], "none": None, "good": 0.5}[answer]

async def hostile_too(answer):
    time.sleep(600)

def swapped(tsak, answer):
    return 1.0

number = 3
"""


@pytest.fixture
def base(tmp_path):
    (tmp_path / "mine.py").write_text(FILE, "utf-8")
    return tmp_path


def tree(*answers):
    """One leaf an answer, below one common node."""
    nodes = [Node(-1), Node(0, text="so", calls=(Call("tool", {"x": "abc"}, 1),))]
    nodes += [Node(1, text="so", done=True, answer=answer) for answer in answers]
    return Tree({"id": "t", "question": "?", "answer": "4"}, nodes)


def scored(base, name, *answers, seconds=60.0):
    """(rewards, counts, what was told)."""
    told: list[str] = []

    async def run():
        settings = RewardSettings(rule=f"mine.py:{name}", seconds=seconds)
        scorer = make_scorer(settings, base, told.append)
        given = tree(*answers)
        try:
            return await scorer.score(given, range(2, len(given))), dict(scorer.counts)
        finally:
            await scorer.aclose()

    return (*asyncio.run(run()), told)


def test_a_function_is_given_what_it_names(base):
    assert scored(base, "score", "4", "5") == ([1.0, 0.0], {"judged": 2}, [])
    assert scored(base, "waits", "four") == ([4.25], {"judged": 1}, [])
    assert scored(base, "sees", {"answer": 4}, None) == ([243.0, 243.0], {"judged": 2}, [])


@pytest.mark.parametrize(
    ("answer", "kind", "line"),
    [
        ("raises", "errors", "ValueError: no such thing (mine.py:17)"),
        ("leaves", "errors", "SystemExit: 3 (mine.py:19)"),
        ("dies", "crashes", "its process died (mine.py:15)"),
        ("nan", "errors", "give a finite number or None, not nan (mine.py:15)"),
        ("text", "errors", "give a finite number or None, not the text '1.0' (mine.py:15)"),
        ("list", "errors", "give a finite number or None, not a list (mine.py:15)"),
    ],
)
def test_what_gives_no_number_is_no_reward(base, answer, kind, line):
    rewards, counts, told = scored(base, "hostile", answer, "good", answer)
    assert rewards == [None, 0.5, None] and counts == {kind: 2, "judged": 1}
    assert told == [f"reward mine.py:hostile: {line}: no reward; later ones are only counted"]


def test_none_is_no_reward_and_nothing_to_tell(base):
    assert scored(base, "hostile", "none") == ([None], {"none": 1}, [])


@pytest.mark.parametrize(("name", "line"), [("hostile", 15), ("hostile_too", 26)])
def test_what_never_ends_is_killed(base, name, line):
    rewards, counts, (told,) = scored(base, name, "hangs", seconds=0.5)
    assert rewards == [None] and counts == {"timeouts": 1}
    assert f"no reward in 0.5 s (reward.seconds) (mine.py:{line})" in told


def test_episodes_that_failed_or_go_on_are_not_scored(base):
    async def run():
        scorer = make_scorer(RewardSettings(rule="mine.py:score"), base)
        given = tree("4", "4")
        given.nodes[2] = replace(given.nodes[2], error="x")
        given.nodes[3] = replace(given.nodes[3], done=False)
        return await scorer.score(given, [2, 3])

    assert asyncio.run(run()) == [None, None]


@pytest.mark.parametrize(
    ("rule", "line"),
    [
        ("mine.py:scor", "mine.py has no function 'scor'"),
        ("mine.py:number", "mine.py has no function 'number'"),
        ("mine.py", "name a function too, as in mine.py:score"),
        ("mien.py:score", "did you mean 'mine.py'?"),
        (
            "mine.py:swapped",
            "swapped takes 'tsak', which a reward is not given: did you mean 'task'?",
        ),
        ("broken.py:score", "broken.py, line 1: SyntaxError"),
    ],
)
def test_a_wrong_name_is_one_line(base, rule, line):
    (base / "broken.py").write_text("def score(:\n", "utf-8")
    with pytest.raises(HornbeamError) as caught:
        named_function(rule, base)
    assert line in str(caught.value) and "\n" not in str(caught.value)


def test_names_of_rules_are_still_checked():
    assert (
        parse(Recipe, {"reward": {"rule": "a/mine.py:score"}}, "r").reward.rule == "a/mine.py:score"
    )
    with pytest.raises(HornbeamError, match=r"'none' .did you mean 'exact'"):
        parse(Recipe, {"reward": {"rule": "exakt"}}, "r")


def test_recorded_trees_are_scored_by_a_function(base, monkeypatch):
    monkeypatch.chdir(base)
    summary = ScoreSummary()

    async def run():
        how = ByRule.of("mine.py:hostile", {})
        try:
            return await how.score(tree("good", "raises"), summary)
        finally:
            await how.aclose()

    assert asyncio.run(run()) == {"reward": [None, None, 0.5, None]}
    assert summary.without == {"no reward by the function": 1}


def test_votes_count_equal_texts_together():
    same = asyncio.run(Alike(RewardSettings(rule="mine.py:score")).same(["4", " 4", "4.0"]))
    assert same("4") == same(" 4") != same("4.0")
