"""Names out of files and out of packages: found, checked, told in one line, sent elsewhere."""

import asyncio
import os
import pickle
import sys
from dataclasses import replace
from typing import get_args

import pytest

from hornbeam.credit import credit, method
from hornbeam.errors import DataError, HornbeamError, ProgramError, RecipeError
from hornbeam.score.reward_function import READY
from hornbeam.score.reward_settings import PARTS, Expert, RewardSettings, RuleName
from hornbeam.score.rules import make_scorer
from hornbeam.search import State, strategy
from hornbeam.tree.nodes import Node, Origin, Tree

MINE = '''
from typing import Literal

from pydantic import Field

from hornbeam.credit import Leaf, NodeMethod, PathMethod
from hornbeam.credit.baselines import leave_one_out, standardised
from hornbeam.search import Fork, Strategy


class Wide(Strategy):
    """Episodes from the task, all at once."""

    n: int = Field(8, ge=1)

    def ask(self, tree, state):
        return [Fork(e, 0) for e in range(self.n) if e not in state.asked]

    def leaves(self):
        return self.n


class Half(Strategy):
    def leaves(self):
        return 1


class Own(PathMethod):
    std: Literal["sample", "population"] = "sample"

    def advantages(self, groups: list[list[Leaf]]) -> list[list[float]]:
        return [standardised([leaf.reward for leaf in group], self.std) for group in groups]


class Given(PathMethod):
    """Says what it is told to say."""

    what: list = []

    def advantages(self, groups):
        return self.what


class GivenNodes(NodeMethod):
    what: list = []

    def credits(self, trees, outcomes):
        return self.what


def others(rewards, scale: float = 1.0):
    return [scale * a for a in leave_one_out(rewards)]


def short(rewards):
    return rewards[:-1]


def raises(rewards):
    return 1 / 0


def nothing():
    return []


def longer(answer, than: int = 2):
    return len(answer) > than


number = 3
'''


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "broken.py").write_text("import no_such_module_here\nclass Wide: ...\n")
    return tmp_path


def tree(*rewards):
    made = Tree({"id": "t", "question": "q"})
    for n, _ in enumerate(rewards):
        made.append(Node(0, "a", tokens=[1], finish="end", origin=Origin(n), done=True))
    made.columns["reward"] = [None, *rewards]
    return made


def test_a_strategy_of_ones_own_asks_as_the_ready_made_one(folder):
    mine, ready = strategy("mine.py:Wide", folder, n=3), strategy("independent", n=3)
    grown = Tree({"id": "t", "question": "q"})
    assert mine.ask(grown, State()) == ready.ask(grown, State())
    assert strategy(f"{folder}/mine.py:Wide").leaves() == 8


def test_a_strategy_of_ones_own_is_sent_to_processes_that_have_not_loaded_it(folder):
    sent = pickle.dumps(strategy("mine.py:Wide", folder, n=3))
    for name in [name for name in sys.modules if name.startswith("hornbeam_program_mine")]:
        del sys.modules[name]
    there = pickle.loads(sent)
    assert (type(there).__name__, there.n, there.model_fields_set) == ("Wide", 3, {"n"})


@pytest.mark.parametrize(
    ("own", "settings", "ready"),
    [
        ("Own", {}, method("grpo")),
        ("Own", {"std": "population"}, method("grpo", std="population")),
        ("others", {}, method("rloo")),
    ],
)
def test_an_own_copy_of_a_ready_made_credit_gives_equal_columns(folder, own, settings, ready):
    mine, other = tree(0.1, 1.0, 0.7), tree(0.1, 1.0, 0.7)
    credit([mine], method(f"mine.py:{own}", folder, **settings))
    credit([other], ready)
    assert mine.columns == other.columns


def test_settings_of_a_function_are_its_keywords(folder):
    one, two = tree(0.0, 1.0), tree(0.0, 1.0)
    credit([one], method("mine.py:others", folder))
    credit([two], method("mine.py:others", folder, scale=2))
    assert two.columns["advantage"][1:] == [2 * a for a in one.columns["advantage"][1:]]


@pytest.mark.parametrize(
    ("make", "name", "settings", "line"),
    [
        (strategy, "mine.py:Wid", {}, "strategy: mine.py has no 'Wid': did you mean 'Wide'?"),
        (strategy, "mien.py:Wide", {}, "strategy 'mien.py:Wide': no such file in"),
        (strategy, "mien.py:Wide", {}, "did you mean 'mine.py'?"),
        (strategy, "mine.py", {}, "strategy 'mine.py': name what it is in its file too"),
        (strategy, "mine.py:Wide", {"m": 1}, "'mine.py:Wide' has no setting 'm': known: n"),
        (strategy, "mine.py:Wide", {"n": 0}, "n = 0: expected greater than or equal to 1"),
        (strategy, "mine.py:Half", {}, "mine.py: Half lacks ask, which Strategy asks for"),
        (strategy, "mine.py:number", {}, "mine.py: number is 3: a class that derives from Strat"),
        (strategy, "mine.py:Own", {}, "mine.py: Own is the class Own: a class that derives from"),
        (strategy, "wide", {}, "unknown strategy 'wide': known: beam, branch"),
        (method, "mine.py:Onw", {}, "credit method: mine.py has no 'Onw': did you mean 'Own'?"),
        (method, "mine.py:Own", {"std": 1}, "std = 1: expected 'sample' or 'population'"),
        (method, "mine.py:Wide", {}, "derives from PathMethod or NodeMethod or ScopeMethod is"),
        (method, "mine.py:others", {"scal": 1}, "others has no setting 'scal': did you mean 'sca"),
        (method, "mine.py:others", {"scale": "x"}, "others: scale = 'x': expected a number"),
        (method, "mine.py:short", {"scale": 1}, "short has no setting 'scale': it takes none"),
        (method, "mine.py:nothing", {}, "nothing must take rewards: def nothing(rewards)"),
        (method, "mine.py:number", {}, "mine.py: number is 3: a function is expected"),
        (method, "grop", {}, "unknown credit method 'grop': did you mean 'grpo'?"),
    ],
)
def test_what_is_wrong_is_one_line(folder, make, name, settings, line):
    with pytest.raises(RecipeError) as told:
        make(name, folder, **settings)
    assert line in str(told.value) and "\n" not in str(told.value)


def test_a_file_that_does_not_import_is_one_line(folder):
    with pytest.raises(ProgramError, match=r"broken.py, line 1: ModuleNotFoundError: No module"):
        strategy("broken.py:Wide", folder)


@pytest.mark.parametrize(
    ("name", "what", "line"),
    [
        ("Given", [[1.0]], "credit Given: 1 advantages for a group of 2 leaves"),
        ("Given", [], "credit Given: 0 lists for 1 groups of leaves"),
        ("Given", [[float("nan"), 1.0]], "credit Given: give a finite number or None, not nan"),
        ("Given", ["ab"], "credit Given: a list is expected, not the text 'ab'"),
        ("GivenNodes", [[0.0, 1.0]], "task 't': a column of 2 entries for 3 nodes"),
        ("GivenNodes", [[None, 1.0, "x"]], "credit GivenNodes: give a finite number or None, not"),
    ],
)
def test_what_an_own_credit_gives_is_looked_at(folder, name, what, line):
    grown = tree(0.0, 1.0)
    with pytest.raises(DataError) as told:
        credit([grown], method(f"mine.py:{name}", folder, what=what))
    assert line in str(told.value) and set(grown.columns) == {"reward"}
    with pytest.raises(DataError, match=r"credit mine.py: short: 1 advantages for a group of 2"):
        credit([grown], method("mine.py:short", folder))


def test_parts_of_one_file_are_of_one_module_until_it_changes(folder):
    first = type(strategy("mine.py:Wide", folder))
    assert type(strategy("mine.py:Wide", folder)) is first
    (folder / "mine.py").write_text(MINE.replace("n: int = Field(8", "n: int = Field(5"))
    assert strategy("mine.py:Wide", folder).leaves() == 5


# --- packages ------------------------------------------------------------------------------------


def package(folder, name, points, code=MINE):
    """An installed package, as far as Python can tell."""
    module = name.replace("-", "_")
    (folder / f"{module}.py").write_text(code)
    info = folder / f"{module}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(points.replace("HERE", module))


@pytest.fixture
def site(tmp_path, monkeypatch):
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    for name in ("hb_plus", "hb_more"):
        sys.modules.pop(name, None)


POINTS = """
[hornbeam.strategy]
widest = HERE:Wide
independent = HERE:Wide
gone = HERE:Gone
[hornbeam.reward]
longer = HERE:longer
[hornbeam.credit]
own = HERE:Own
others = HERE:others
"""


def test_a_package_adds_names(site):
    package(site, "hb-plus", POINTS)
    assert strategy("widest", n=2).leaves() == 2
    assert type(strategy("independent")).__module__.startswith("hornbeam.")  # ready-made ones win
    mine, ready = tree(0.0, 1.0, 1.0), tree(0.0, 1.0, 1.0)
    credit([mine], "own")
    credit([ready], "grpo")
    assert mine.columns == ready.columns
    credit([mine], "others", scale=1)
    credit([ready], "rloo")
    assert mine.columns == ready.columns
    assert pickle.loads(pickle.dumps(strategy("widest", n=2))) == strategy("widest", n=2)


def test_a_reward_of_a_package_runs_in_the_pool(site, monkeypatch):
    package(site, "hb-plus", POINTS)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]))
    assert {*get_args(RuleName), *get_args(Expert), PARTS} == READY

    async def scores(**how):
        scorer = make_scorer(RewardSettings(rule="longer", workers=1, **how), site)
        try:
            grown = tree(None, None)
            grown.nodes[1:] = [
                replace(node, answer=answer) for node, answer in zip(grown.nodes[1:], ["ab", "abc"])
            ]
            return await scorer.score(grown, [1, 2])
        finally:
            await scorer.aclose()

    assert asyncio.run(scores()) == [0.0, 1.0] and asyncio.run(scores(than=1)) == [1.0, 1.0]
    with pytest.raises(RecipeError, match="no setting 'thn': did you mean 'than'"):
        asyncio.run(scores(thn=1))


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("widst", "unknown strategy 'widst': did you mean 'widest'?"),
        (
            "gone",
            "strategy 'gone' of package hb-plus cannot be loaded from hb_plus:Gone: AttributeError",
        ),
    ],
)
def test_what_is_wrong_with_a_package_is_one_line(site, name, line):
    package(site, "hb-plus", POINTS)
    with pytest.raises(RecipeError) as told:
        strategy(name)
    assert line in str(told.value) and "\n" not in str(told.value)


def test_a_name_that_two_packages_give_is_told(site):
    package(site, "hb-plus", POINTS)
    package(site, "hb-more", POINTS)
    with pytest.raises(HornbeamError, match="'widest': hb-more and hb-plus both give it"):
        strategy("widest")
