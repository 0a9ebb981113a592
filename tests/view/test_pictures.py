"""Trees as picture and as text, worked by hand; the scale's colours; the cost table."""

import itertools
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from hornbeam.tree.nodes import Call, Node, Tree
from hornbeam.view import tree_svg, tree_text
from hornbeam.view.account import amount_text, cost_table, totals
from hornbeam.view.colour import DARK, LIGHT, STEPS, channels, colour, contrast, rung
from hornbeam.view.data import spread
from hornbeam.view.example import example_tree
from hornbeam.view.shape import credit, depths, first_line, number, preorder, signed, slots

from .run_data import HOSTILE, chain, two_agents

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tree():
    #        0
    #     1     2
    #    3 5    4
    tree = Tree({"id": "t", "question": "What is 1 + 1?"})
    for parent, text in ((0, "a"), (0, "b"), (1, "c"), (2, "d"), (1, "e")):
        tree.append(Node(parent, "solver", text=text))
    tree.columns["reward"] = [None, None, None, 1.0, 0.0, 0.5]
    return tree


def test_places_in_a_tidy_drawing(tree):
    assert preorder(tree) == [0, 1, 3, 5, 2, 4]
    assert depths(tree) == [0, 1, 1, 2, 2, 2]
    assert slots(tree) == [1.25, 0.5, 2, 0, 2, 1]


def test_without_advantages_credit_is_the_mean_reward_below(tree):
    assert credit(tree) == [0.5, 0.75, 0.0, 1.0, 0.0, 0.5]


def test_credit_is_the_two_sums_over_the_leaves(tree):
    tree.columns["advantage_pos"] = [2, 2, 0, 2, 0, 0]
    tree.columns["advantage_neg"] = [-1.5, -0.5, -1, 0, -1, -0.5]
    tree.columns["leaves"] = [3, 2, 1, 1, 1, 0]
    assert credit(tree) == [0.5 / 3, 0.75, -1, 2, -1, None]


def test_credit_prefers_advantages_to_rewards(tree):
    tree.columns["advantage"] = [None, None, None, 1.0, None, -0.5]
    assert credit(tree) == [0.25, 0.25, None, 1.0, None, -0.5]


def test_text_of_a_tree(tree):
    assert tree_text(tree).splitlines() == [
        "task t  What is 1 + 1?",
        "├─ 1  solver  +0.75  a",
        "│  ├─ 3  solver  +1  reward 1  c",
        "│  └─ 5  solver  +0.5  reward 0.5  e",
        "└─ 2  solver  0  b",
        "   └─ 4  solver  0  reward 0  d",
    ]


def test_text_tells_failures_and_keeps_to_its_width():
    text = tree_text(two_agents(1), width=60)
    assert "FAILED  ToolError" in text
    assert max(len(line) for line in text.splitlines()[1:]) <= 60


def test_text_tells_what_tools_were_called_and_what_came_back():
    calls = (Call("add", {"a": 1}, 2), Call("ad", {}, None, "there is no tool 'ad'"))
    nodes = [Node(-1), Node(0, agent="a", text="go", calls=calls), Node(1, agent="a", text="2")]
    assert tree_text(Tree({"id": "t"}, nodes), calls=True).splitlines() == [
        "task t",
        "└─ 1  a  go",
        '   │  call add {"a": 1}  = 2',
        "   │  call ad {}  FAILED  there is no tool 'ad'",
        "   └─ 2  a  2",
    ]


def test_numbers_are_short_and_signed():
    assert [number(v) for v in (1.0, 0.25, -1.3, -0.001, 100.0)] == [
        "1",
        "0.25",
        "−1.3",
        "0",
        "100",
    ]
    assert [signed(v) for v in (0.5, 0.0, -0.5, 0.001)] == ["+0.5", "0", "−0.5", "0"]
    assert first_line("\n  one two  \nthree", 5) == "one…"


def _marks(picture, name):
    kinds = [element.get("class", "").split() for element in ElementTree.fromstring(picture).iter()]
    return [kind for kind in kinds if name in kind]


def test_picture_has_a_pill_a_node_and_a_line_to_each(tree):
    picture = tree_svg(tree)
    assert _marks(picture, "pill") == [["pill", c] for c in ("p3", "p0", "p4", "p0", "p2")]
    assert len(_marks(picture, "edge")) == 5
    texts = [
        "".join(e.itertext())
        for e in ElementTree.fromstring(picture).iter()
        if e.tag.endswith("text")
    ]
    assert {"What is 1 + 1?", "+0.75", "+0.5", "1", "a"} <= set(texts)


def test_picture_keeps_every_mark_on_its_background():
    for tree in (example_tree(), two_agents(2), chain(3), Tree({"id": "bare"})):
        root = ElementTree.fromstring(tree_svg(tree))
        width, height = float(root.get("width")), float(root.get("height"))
        for element in root.iter():
            if "x" in element.attrib:
                assert 0 <= float(element.get("x")) <= width
                assert 0 <= float(element.get("y")) <= height


def test_picture_is_xml_whatever_was_said():
    tree = Tree({"id": "t", "question": HOSTILE + "\x00\x1b[31m\ufffe"})
    tree.append(Node(0, "<agent>", text=HOSTILE, answer="\x00<", error='"&'))
    root = ElementTree.fromstring(tree_svg(tree).encode())
    assert {e.tag.split("}")[1] for e in root.iter()} <= {
        "svg", "title", "style", "rect", "circle", "path", "text", "tspan",
    }  # fmt: skip


@pytest.mark.timeout(60)  # quadratic work on so many nodes would take minutes
def test_picture_of_a_large_tree_takes_linear_time():
    tree = Tree({"id": "wide"})
    for _ in range(20_000):
        tree.append(Node(0, "solver", text="x"))
    assert tree_svg(tree).count("<rect") >= 20_000


def test_the_readme_picture_is_the_committed_command_s(tmp_path):
    path = tmp_path / "tree.svg"
    subprocess.run([sys.executable, "-m", "hornbeam.view.example", path], check=True)
    assert path.read_text() == (ROOT / "docs/images/tree.svg").read_text()


def test_example_is_credited_by_hand():
    # rewards of the leaves 4 5 8 9 | 12 13: 1 0 1 0 | 0 0
    # task: mean 1/3, sample std sqrt(4/15); first trunk: mean 1/2, sample std sqrt(1/3)
    tree = example_tree()
    good = (2 / 3) / (4 / 15) ** 0.5 + 0.5 / (1 / 3) ** 0.5
    bad = (-1 / 3) / (4 / 15) ** 0.5 - 0.5 / (1 / 3) ** 0.5
    other = (-1 / 3) / (4 / 15) ** 0.5
    expected = {4: good, 5: bad, 8: good, 9: bad, 12: other, 13: other}
    got = tree.columns["advantage"]
    assert {leaf: got[leaf] for leaf in tree.leaves()} == pytest.approx(expected)


# --- colours -------------------------------------------------------------------------------------


def test_only_zero_has_the_middle_colour():
    assert [rung(v, 2.0) for v in (-2, -0.01, 0, 0.5, 0.51, 1, 2, 9)] == [-4, -1, 0, 1, 2, 2, 4, 4]


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_one_ink_is_readable_on_every_colour(theme):
    # 4.5 is WCAG's AA for small text, 3 for graphical marks
    for place in range(-STEPS, STEPS + 1):
        assert contrast(theme.ink, colour(place, theme)) >= 4.5
    assert contrast(theme.soft, theme.background) >= 4.5
    for mark in (theme.positive_line, theme.negative_line):
        assert contrast(mark, theme.background) >= 3


def test_contrast_of_black_and_white():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


# Linear RGB as seen without one kind of cone: Machado, Oliveira, Fernandes 2009, severity 1.0.
BLIND = {
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}


@pytest.mark.parametrize("kind", BLIND)
@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_the_two_sides_stay_apart_for_colour_blind_eyes(kind, theme):
    def seen(place):
        raw = [(c / 255) ** 2.2 for c in channels(colour(place, theme))]
        rows = [sum(m * c for m, c in zip(row, raw)) for row in BLIND[kind]]
        return [255 * max(0.0, min(1.0, value)) ** (1 / 2.2) for value in rows]

    for a, b in itertools.product((-STEPS, -STEPS + 1), (STEPS - 1, STEPS)):
        assert sum((x - y) ** 2 for x, y in zip(seen(a), seen(b))) ** 0.5 > 40


# --- costs and packing ---------------------------------------------------------------------------


def test_totals_leave_out_only_what_was_not_paid_for():
    costs = {
        "sampled_tokens": 10, "prompt_tokens_computed": 5, "prompt_tokens_cached": 100,
        "tokens_unique": 7, "tokens_flat": 30, "judge_tokens": 3, "tool_calls": 2,
        "tool_calls_replayed": 8, "seconds_grow": 1.5, "oddity": 4,
    }  # fmt: skip
    assert totals(costs) == {"tokens": 25, "calls": 2, "seconds": 1.5}
    assert totals({"tokens_flat": 30}) == {"tokens": 30}


def test_cost_table_shows_every_kind_and_escapes_its_name():
    table = cost_table({"sampled_tokens": 1234567, "<b>_tokens": 0.5, "nan_calls": float("nan")})
    assert "1,234,567" in table and "&lt;b&gt; tokens" in table and "not a number" in table
    assert "No costs" in cost_table({})
    assert [amount_text(v) for v in (5, 5.25, 250.75)] == ["5", "5.2", "251"]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 50])
def test_spread_takes_every_place_once_ends_first(count):
    order = list(spread(count))
    assert sorted(order) == list(range(count))
    assert order[:2] == [count - 1, 0][: min(count, 2)]


def test_answers_that_come_back_as_others_are_no_calls():
    costs = {"model_calls": 3, "rewritten_other_calls": 2, "rewritten_reasoning": 1}
    assert totals(costs) == {"calls": 3}
