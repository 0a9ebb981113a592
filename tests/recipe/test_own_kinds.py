"""Choosers, segmenters, task sources, labels, tools of one's own: as ready-made ones, or told."""

import pickle
import sys
from array import array
from functools import partial
from pathlib import Path

import pytest

from hornbeam.assembly.toolset import make_tools
from hornbeam.chat.byte_chat import ByteChat
from hornbeam.episode.segmenters import Segmenter
from hornbeam.errors import DataError, HornbeamError, ProgramError, RecipeError
from hornbeam.recipe.recipe import Recipe
from hornbeam.recipe.sections import LabelSection, label_strategy
from hornbeam.recipe.toml import parse
from hornbeam.search import chooser
from hornbeam.search.choose import candidates
from hornbeam.search.chunk_labels import apply
from hornbeam.tasks import Task, TaskSettings, load_tasks
from hornbeam.tree.nodes import Node, Origin, Tree

MINE = """
import re

from hornbeam.search import Chooser
from hornbeam.search.chunk_labels import ChunkLabel, rel_ratio
from hornbeam.tasks import Task
from hornbeam.tools import ToolSettings


def longest(tree, leaves):
    return max(leaves, key=lambda i: len(tree.nodes[i].answer), default=None)


def most(tree, leaves, same, least: int = 1):
    keys = [same(tree.nodes[i].answer) for i in leaves]
    good = [i for i, key in zip(leaves, keys) if keys.count(key) >= least]
    return max(good, key=lambda i: keys.count(same(tree.nodes[i].answer)), default=None)


ready = Chooser(lambda tree, leaves, same: leaves[-1], ("value",))


def astray(tree, leaves):
    return 0


def lines(text, mark: str = "\\n"):
    return [match.end() for match in re.finditer(re.escape(mark), text)]


def beyond(text):
    return [len(text) + 1]


def words(text):
    return text


def rooms(split, doors: int = 2):
    for n in range(doors):
        yield {"question": f"{split} {n}?", "answer": str(n), "wide": n % 2 == 0}


def endless(seed, split):
    n = seed
    while True:
        yield Task(f"{split}-{n}", f"{split} {n}?", n)
        n += 1


def numbers(split):
    return [1, 2]


def nameless(split):
    return [{"answer": 1}]


def one(split):
    return "a text"


def good(q, before):
    return rel_ratio(q, before, 0.7) == 1


def odd(q, before, over: float = 0.5):
    return q


class Rule(ChunkLabel):
    gamma: float = 0.7

    def label(self, q, before):
        return rel_ratio(q, before, self.gamma)


class Ruler(ToolSettings):
    unit: str = "cm"

    def make(self):
        return lambda text: f"{len(text)} {self.unit}"


class Counter:
    def __init__(self, start: int = 0):
        self.n = start

    def __call__(self):
        self.n += 1
        return self.n


class Dumb:
    pass


def shout(text):
    return text.upper()
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path


def tree(*answers):
    made = Tree({"id": "t", "question": "q"})
    for n, answer in enumerate(answers):
        made.append(Node(0, "a", tokens=[1], origin=Origin(n), done=True, answer=answer))
    return made


def told(make, *lines):
    with pytest.raises(HornbeamError) as error:
        make()
    said = str(error.value)
    assert [line for line in lines if line not in said] == [] and "\n" not in said, said


def test_a_choice_of_ones_own(folder):
    grown = tree("a", "ccc", "bb", "A")
    pick = partial(chooser, "mine.py:most", folder)
    assert chooser("mine.py:longest", folder).pick(grown, candidates(grown), str) == 2
    assert pick().pick(grown, candidates(grown), str.lower) == 1
    assert pick(least=3).pick(grown, candidates(grown), str.lower) is None
    ready = chooser("mine.py:ready", folder)
    assert ready.reads == ("value",) and ready.pick(grown, candidates(grown), str) == 4
    told(lambda: pick(last=2), "mine.py: most has no setting 'last': did you mean 'least'?")
    told(lambda: pick(least="x"), "most: least = 'x': expected a whole number")
    told(lambda: chooser("mine.py:ready", folder, n=1), "takes no settings, 'n' is given")
    told(lambda: chooser("first", n=1), "chooser 'first' takes no settings")
    told(lambda: chooser("mine.py:shout", folder), "shout must take tree and leaves: def shout(")
    told(lambda: chooser("frist"), "unknown chooser 'frist': did you mean 'first'?")
    astray = chooser("mine.py:astray", folder)
    with pytest.raises(DataError, match=r"astray, task 't': one of the leaves \[1, 2\] or None"):
        astray.pick(tree("a", "b"), [1, 2], str)


def test_a_segmenter_of_ones_own_cuts_as_the_ready_made_one(folder):
    chat, text = ByteChat(), "one\ntwo\n\nthree"
    ids = array("I", chat.encode(text))
    mine = Segmenter(by="mine.py:lines").beside(folder)
    assert mine.cuts(ids, chat) == Segmenter(by="regex", regex="\n").cuts(ids, chat) == [4, 8, 9]
    commas = Segmenter(by="mine.py:lines", options={"mark": "t"}).beside(folder)
    sent = pickle.dumps(commas)
    for name in [name for name in sys.modules if name.startswith("hornbeam_program_mine")]:
        del sys.modules[name]
    assert pickle.loads(sent).ends(text) == [5, 10] == commas.ends(text)
    told(lambda: Segmenter(by="tex"), "by: 'tex': did you mean 'text'?")
    told(lambda: Segmenter(by="mine.py:lins").beside(folder), "has no 'lins': did you mean 'line")
    options = {"mork": 1}
    told(lambda: Segmenter(by="mine.py:lines", options=options).beside(folder), "did you mean 'ma")
    told(lambda: Segmenter(options={"a": 1}).beside(folder), "options are of a function of one")
    for name, line in {
        "beyond": "gave 15 as a place in a text of 14",
        "words": "gave the te",
    }.items():
        with pytest.raises(ProgramError, match=line):
            Segmenter(by=f"mine.py:{name}").beside(folder).ends(text)


def test_segmenters_without_options_are_stored_as_ever():
    assert set(Segmenter().model_dump()) == {"by", "text", "regex", "tokens"}
    own = Segmenter(by="mine.py:lines", options={"mark": "t"})
    assert Segmenter.model_validate(own.model_dump()) == own


def test_tasks_of_ones_own(folder):
    def load(name, **how):
        return load_tasks([TaskSettings(source=f"mine.py:{name}", **how)], base=folder)

    made = load("rooms", split="test", options={"doors": 3})
    assert [t.id for t in made.tasks] == ["rooms-test-1", "rooms-test-2", "rooms-test-3"]
    assert made.tasks[2] == Task("rooms-test-3", "test 2?", "2", {"wide": True})
    assert made.sources == ["mine.py:rooms test: 3 tasks by mine.py: rooms"]
    shuffled = load("rooms", options={"doors": 9}, seed=1, skip=2, count=3).tasks
    whole = load("rooms", options={"doors": 9}, seed=1).tasks
    assert shuffled == whole[2:5] and [t.id for t in whole] != sorted(t.id for t in whole)
    assert [t.answer for t in load("endless", seed=7, skip=1, count=2).tasks] == [8, 9]
    told(lambda: load("rooms", options={"dors": 3}), "rooms has no setting 'dors': did you mean 'd")
    told(lambda: load("rooms", path="x"), "task source 'mine.py:rooms' has no use for 'path'")
    told(lambda: load("rooms", count=5), "count 5 ask for 5 tasks, there are 2 by mine.py: rooms")
    told(lambda: load("numbers"), "mine.py: numbers, task 1: a Task or a dict is expected, not 1")
    told(lambda: load("nameless"), "mine.py: nameless, task 1: no 'question'")
    told(lambda: load("one"), "mine.py: one gave the text 'a text': a list of tasks is expected")
    told(lambda: load("good"), "good takes 'q', which it is not given: known: count, seed")
    told(lambda: load("romos"), "task source: mine.py has no 'romos': did you mean 'rooms'?")


def test_labels_of_ones_own(folder):
    def labels(name, **settings):
        grown = tree("a", "b", "c")
        grown.columns["q"] = [0.5, 0.2, 0.6, None]
        apply(grown, name, settings, folder)
        return grown.columns["label"]

    ready = labels("rel_ratio", gamma=0.7)
    assert labels("mine.py:good") == labels("mine.py:Rule") == ready == [None, -1, 1, None]
    told(lambda: labels("mine.py:odd"), "mine.py: odd gave 0.2: True or False is expected")
    told(lambda: labels("mine.py:Rule", gama=1), "no setting 'gama': did you mean 'gamma'?")
    section = LabelSection(strategy="rollouts", chunk_label="mine.py:god")
    told(lambda: label_strategy(section, folder), "mine.py has no 'god': did you mean 'good'?")
    adaptive = LabelSection(strategy="rollouts", chunk_label="mine.py:good", adaptive=True)
    told(lambda: label_strategy(adaptive, folder), "label.adaptive goes by a ready-made")


def test_tools_of_ones_own(folder):
    def tools(**table):
        return make_tools(parse(Recipe, {"tools": {"mine": table}}, "r"), Path(folder))["mine"]

    assert tools(use="mine.py:shout")("a") == "A"
    assert tools(use="mine.py:Ruler", unit="mm")("abc") == "3 mm"
    assert tools(use="mine.py:Counter", start=4)() == 5
    told(lambda: tools(use="mine.py:Ruler", unti="mm"), "no setting 'unti': did you mean 'unit'?")
    told(lambda: tools(use="mine.py:Counter", start="x"), "tools.mine", "start = 'x': expected a w")
    told(lambda: tools(use="mine.py:shout", a=1), "is a function and takes no settings, 'a' is gi")
    told(lambda: tools(use="mine.py:Dumb"), "tools.mine: mine.py: Dumb makes what cannot be called")
    told(lambda: tools(use="mine.py:shot"), "tool: mine.py has no 'shot': did you mean 'shout'?")
    with pytest.raises(RecipeError, match="did you mean 'use'"):
        tools(uze="mine.py:shout")
