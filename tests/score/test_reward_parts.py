"""Several rewards with weights, figures beside a reward, settings of functions, bad returns."""

import asyncio
import os
import select

import pytest

from hornbeam.arguments import finite
from hornbeam.errors import ArgumentError, HornbeamError
from hornbeam.jobs.score.score_trees import ByRule, ScoreSummary, score_trees
from hornbeam.jobs.train.tree_metrics import grown_figures
from hornbeam.recipe.recipe import Recipe
from hornbeam.recipe.toml import parse, read_toml, show
from hornbeam.score.alike import Alike
from hornbeam.score.reward_function import named_function
from hornbeam.score.rules import make_scorer
from hornbeam.score.verdict import read_verdict
from hornbeam.tree.nodes import Node, Tree

FILE = """\
import os, subprocess, sys
from typing import Literal

def brief(answer, most: int = 3, sign: Literal["plus", "minus"] = "plus"):
    return {"reward": float(len(answer) <= most), "length": len(answer), "none": None}

def silent(answer):
    return None if answer == "4" else 0.5

def needs(answer, bonus: float):
    return bonus

def bad(answer):
    return {
        "no key": {"length": 1},
        "empty": {},
        "nan": {"reward": float("nan")},
        "name": {"reward": 1, "a b": 1},
        "number": {"reward": 1, 3: 1},
        "text": {"reward": 1, "length": "long"},
        "many": {"reward": 1} | {f"f{i}": i for i in range(40)},
        "unscored": {"reward": None, "length": 2},
    }[answer]

def loud(answer):
    print("x" * 1_000_000)
    print("y" * 1_000_000, file=sys.stderr)
    return 1.0

def reads(answer):
    return float(len(sys.stdin.read()))

def leaves_a_child(answer):
    code = "import sys, time; f = open(sys.argv[1], 'w'); f.write('x'); f.flush(); print();"
    code += "sys.stdout.flush(); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", code, answer], stdout=subprocess.PIPE)
    child.stdout.readline()
    os._exit(1)
"""


@pytest.fixture
def base(tmp_path):
    (tmp_path / "mine.py").write_text(FILE, "utf-8")
    return tmp_path


def tree(*answers):
    nodes = [Node(-1), *(Node(0, text="so", done=True, answer=answer) for answer in answers)]
    return Tree({"id": "t", "question": "?", "answer": "4"}, nodes)


def settings(**reward):
    return parse(Recipe, {"reward": reward}, "r").reward


def judged(base, reward, *answers):
    """(what is said of each leaf by column, counts, what was told)."""
    told: list[str] = []

    async def run():
        scorer = make_scorer(settings(**reward), base, told.append)
        given = tree(*answers)
        try:
            return await scorer.verdicts(given, range(1, len(given))), dict(scorer.counts)
        finally:
            await scorer.aclose()

    return (*asyncio.run(run()), told)


PARTS = {
    "parts": {
        "right": {"rule": "numeric"},
        "brief": {"rule": "mine.py:brief", "weight": 0.25, "most": 1},
        "odd": {"rule": "mine.py:silent", "weight": 0.0},
    }
}


def test_the_reward_is_the_weighted_sum_of_its_parts(base):
    said, counts, told = judged(base, PARTS, "4", "44", "7")
    figures = [{"figure.brief.length": float(n)} for n in (1, 2, 1)]
    assert said == [
        {"reward": 1.25, "reward.right": 1.0, "reward.brief": 1.0, "reward.odd": None} | figures[0],
        {"reward": 0.0, "reward.right": 0.0, "reward.brief": 0.0, "reward.odd": 0.5} | figures[1],
        {"reward": 0.25, "reward.right": 0.0, "reward.brief": 1.0, "reward.odd": 0.5} | figures[2],
    ]
    assert counts == {"judged": 3, "none": 1} and told == []


def test_a_part_without_a_verdict_is_no_reward(base):
    parts = {"right": {"rule": "numeric"}, "odd": {"rule": "mine.py:silent"}}
    said, counts, _ = judged(base, {"parts": parts}, "4", "5")
    assert said[0] == {"reward": None, "reward.right": 1.0, "reward.odd": None}
    assert said[1]["reward"] == 0.5 and counts == {"judged": 1, "none": 1}


def test_form_and_length_are_taken_off_the_sum(base):
    parts = {"right": {"rule": "numeric", "weight": 2.0}}
    said, _, _ = judged(base, {"parts": parts, "format": "never", "format_penalty": 0.5}, "4")
    assert said == [{"reward": 1.5, "reward.right": 2.0 / 2.0}]


def test_metrics_have_parts_and_figures(base):
    said, _, _ = judged(base, PARTS, "4", "44", "7")
    grown = tree("4", "44", "7")
    grown.nodes.append(Node(0, done=True, error="ValueError"))
    grown = Tree(grown.task, grown.nodes)
    for i, each in enumerate(said, 1):
        for name, value in each.items():
            grown.column(name)[i] = value
    row = grown_figures([grown], None)
    assert row["reward"] == 0.5 and row["no_verdict"] == 0
    assert (row["reward.right"], row["reward.brief"]) == (1 / 3, 2 / 3)
    assert (row["reward.odd"], row["no_verdict.odd"], row["no_verdict.right"]) == (0.5, 1, 0)
    assert (row["figure.brief.length"], row["figure.brief.length.count"]) == (4 / 3, 3)


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        ("no key", "a dict needs a key 'reward', this one has ['length']"),
        ("empty", "a dict needs a key 'reward', this one has none"),
        ("nan", "reward: give a finite number or None, not nan"),
        ("name", "a figure's name is of letters, digits, '_', '-' and '.', not the text 'a b'"),
        ("number", "a figure's name is of letters, digits, '_', '-' and '.', not 3"),
        ("text", "length: give a finite number or None, not the text 'long'"),
        ("many", "40 figures: at most 32 can stand beside a reward"),
    ],
)
def test_a_bad_dict_is_no_reward(base, answer, line):
    said, counts, told = judged(base, {"rule": "mine.py:bad"}, answer, answer)
    assert said == [{"reward": None}] * 2 and counts == {"errors": 2}
    assert told == [
        f"reward mine.py:bad: {line} (mine.py:13): no reward; later ones are only counted"
    ]


def test_figures_stand_where_there_is_no_reward(base):
    said, counts, told = judged(base, {"rule": "mine.py:bad"}, "unscored")
    assert said == [{"reward": None, "figure.length": 2.0}] and counts == {"none": 1}
    assert told == []


def test_what_a_function_prints_and_reads_is_apart(base, capfd):
    assert judged(base, {"rule": "mine.py:loud"}, "a", "b")[0] == [{"reward": 1.0}] * 2
    out, err = capfd.readouterr()
    assert out == "" and "a reward printed more: left out" in err
    assert 0 < err.count("x") + err.count("y") <= 1 << 19  # of four million, of each process
    assert judged(base, {"rule": "mine.py:reads"}, "a", "b")[0] == [{"reward": 0.0}] * 2


def test_processes_that_a_function_started_end_with_it(base, tmp_path):
    os.mkfifo(tmp_path / "held")
    held = os.open(tmp_path / "held", os.O_RDONLY | os.O_NONBLOCK)
    reward = {"rule": "mine.py:leaves_a_child", "seconds": 60.0}
    said, counts, _ = judged(base, reward, str(tmp_path / "held"))
    assert said == [{"reward": None}] and counts == {"crashes": 1}
    assert os.read(held, 9) == b"x"
    assert select.select([held], [], [], 60)[0] and os.read(held, 9) == b""  # nobody holds it
    os.close(held)


def test_sums_that_no_float_holds_are_counted(base):
    parts = {"big": {"rule": "mine.py:needs", "bonus": 1e308, "weight": 100.0}}
    said, counts, _ = judged(base, {"parts": parts}, "4")
    assert said[0]["reward"] is None and counts == {"errors": 1}


# --- before anything runs ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reward", "line"),
    [
        ({"rule": "numeric", "parts": {"a": {"rule": "em"}}}, "leave it out where there are parts"),
        ({"rule": "parts"}, "there are none: give tables as [reward.parts.correct]"),
        ({"parts": {"a": {"rule": "em", "weight": 0.0}}}, "one at least needs a weight"),
        ({"parts": {"a b": {"rule": "em"}}}, "a name of letters, digits, _ and - is expected"),
        ({"parts": {"a": {"rule": "emm"}}}, "'exact', 'numeric', "),
        ({"parts": {"a": {"weight": 1.0}}}, "[reward.parts.a] needs key 'rule'"),
        ({"parts": {"a": {"rule": "em", "wieght": 1.0}}}, "did you mean 'weight'?"),
        ({"rule": "numeric", "bonus": 1}, "[reward] has no key 'bonus'"),
        ({"rule": "numeric", "formt": "x"}, "no key 'formt': did you mean 'format'?"),
        ({"parts": {"a": {"rule": "em"}}, "bonus": 1}, "[reward] has no key 'bonus'"),
    ],
)
def test_a_wrong_section_is_one_line(reward, line):
    with pytest.raises(HornbeamError) as caught:
        settings(**reward)
    assert line in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "values", "line"),
    [
        ("brief", {"msot": 2}, "no setting 'msot': did you mean 'most'?"),
        ("brief", {"most": "two"}, "most = 'two': expected a whole number"),
        ("brief", {"sign": "mnius"}, "did you mean 'minus'?"),
        ("brief", {"answer": "4"}, "no setting 'answer'"),
        ("silent", {"most": 2}, "no setting 'most': it takes none"),
        ("needs", {}, "takes 'bonus', which a reward is not given"),
    ],
)
def test_settings_of_a_function_are_held_against_its_signature(base, name, values, line):
    with pytest.raises(HornbeamError) as caught:
        named_function(f"mine.py:{name}", base, values)
    assert line in str(caught.value) and "\n" not in str(caught.value)


def test_a_recipe_with_parts_reads_back(tmp_path):
    recipe = parse(Recipe, {"reward": PARTS}, "r")
    (tmp_path / "shown.toml").write_text(show(recipe), "utf-8")
    again = parse(Recipe, read_toml(tmp_path / "shown.toml"), "r")
    assert again == recipe and again.reward.rule == "parts"
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe
    assert recipe.reward.compares == "numeric"


def test_votes_compare_by_the_first_ready_made_part():
    parts = {"own": {"rule": "mine.py:silent"}, "right": {"rule": "numeric"}}
    same = asyncio.run(Alike(settings(parts=parts)).same(["4", "4.0", "5"]))
    assert same("4") == same("4.0") != same("5")


def test_recorded_trees_have_the_figures_too(base, monkeypatch):
    monkeypatch.chdir(base)
    how = ByRule.of("mine.py:brief", {"most": 2})
    (columns,), summary = asyncio.run(score_trees(how, [tree("4", "444")], ["here"]))
    assert columns == {"reward": [None, 1.0, 0.0], "figure.length": [None, 1.0, 3.0]}
    assert isinstance(summary, ScoreSummary)
    assert summary.line("reward", "answers").splitlines() == [
        "reward: 2 of 2 answers scored, mean 0.5",
        "figure.length: 2 of 2 answers, mean 2",
    ]


@pytest.mark.parametrize("value", [0, 1.5, True, None])
def test_numbers_are_read_as_before(value):
    verdict = read_verdict(value)
    assert verdict.reward == finite(value) and not verdict.figures
    assert read_verdict({"reward": value, "x": value}).reward == finite(value)


@pytest.mark.parametrize("value", ["1", [1.0], object(), float("inf"), {"reward": [1]}])
def test_what_is_no_verdict(value):
    with pytest.raises(ArgumentError):
        read_verdict(value)
