"""The search page: its verdict, its table, its trees, and that hostile texts stay texts."""

import base64
import hashlib
import re
import shutil

import pytest

from hornbeam.errors import DataError, StoreError
from hornbeam.view import PageLimits
from hornbeam.view.search_data import search_data
from hornbeam.view.search_page import search_page, verdict, write_search
from hornbeam.view.search_table import amount, in_points, p_value

from .browser import Browser
from .search_data import NAMES, search_result
from .test_page import Page


@pytest.fixture(scope="module")
def text():
    return search_page(search_result())


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def point(accuracy, low, high, tokens, **more):
    return {"accuracy": accuracy, "low": low, "high": high, "total_tokens": tokens} | more


def searched(nodes, **more):
    """A result of one question, searched once."""
    search = {"method": "sbs", "nodes": nodes} | more
    return {"questions": [{"id": "q", "question": "?", "gold": 4, "searches": [search]}]}


def test_texts_become_neither_markup_nor_script(page, text):
    names = [tag for tag, _ in page.tags]
    assert names.count("script") == 2
    assert not {"img", "b", "iframe", "link"} & set(names)
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert "GSM8K: &lt;b&gt;search&lt;/b&gt;" in text
    assert "--budget 4,8,16 &amp; more" in text


def test_names_of_methods_are_escaped_in_table_and_verdict():
    bad = "<img src=x>"
    points = [point(0.5, 0.4, 0.6, 100, label=bad)]
    result = {"title": bad, "baseline": bad, "methods": [{"name": bad, "points": points}]}
    result["methods"][0]["points"][0]["against"] = {"difference": 0.1}
    assert "img" not in [tag for tag, _ in Page(search_page(result)).tags]


def test_the_policy_admits_our_script_alone_and_nothing_is_fetched(page, text):
    policy = next(
        a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"
    )
    digest = base64.b64encode(hashlib.sha256(page.scripts[1].encode()).digest()).decode()
    assert policy.startswith("default-src 'none';") and f"script-src 'sha256-{digest}'" in policy
    assert not re.search(r"\b(src|href)=|url\(|@import", text[: text.index('id="data"')])


def test_the_verdict_names_the_cheapest_that_the_best_does_not_clearly_beat():
    points = [
        ("greedy", point(0.20, 0.15, 0.29, 100)),
        ("majority", point(0.27, 0.22, 0.33, 800)),
        ("sbs", point(0.36, 0.30, 0.42, 2000, label="beams=3", free={"first": 0.2, "best": 0.3})),
        ("mcts", point(0.35, 0.29, 0.41, 9000)),
    ]
    assert verdict(points) == [
        "Best: sbs (beams=3), 36.0 % (30.0 to 42.0) at 2,000 total tokens a question."
        " The cheapest whose interval overlaps it: majority, 27.0 % (22.0 to 33.0) at 800 total"
        " tokens a question, 40 % of its tokens.",
        "Read off the best one's own pool, free of charge: first answer 20.0 %, best-of-n 30.0 %.",
    ]


def test_the_verdict_where_nothing_cheaper_comes_near():
    points = [("greedy", point(0.2, 0.1, 0.3, 100)), ("sbs", point(0.5, 0.4, 0.6, 900))]
    assert verdict(points)[0].endswith("No cheaper one has an interval that overlaps it.")
    assert verdict(points[1:]) == [
        "Best: sbs, 50.0 % (40.0 to 60.0) at 900 total tokens a question."
    ]
    assert verdict([("sbs", {"accuracy": None})]) == ["Nothing has been measured yet."]
    assert verdict([("a", {"accuracy": 0.1}), ("b", {"accuracy": 0.2})]) == ["Best: b, 20.0 %."]


def test_the_best_is_told_against_the_baseline():
    best = point(0.5, 0.4, 0.6, 9, against={"difference": 0.11, "p": 0.0123})
    said = "The best one against greedy, question by question: +11.0 points, McNemar p 0.012."
    assert verdict([("sbs", best)], "greedy")[1:] == [said]


def test_of_equals_the_cheaper_is_best():
    points = [("mcts", point(0.5, 0.4, 0.6, 900)), ("sbs", point(0.5, 0.4, 0.6, 100))]
    assert verdict(points)[0].startswith("Best: sbs,")


def test_the_table_holds_every_point_and_every_figure(text):
    table = text[text.index("<table id=points>") : text.index("</table>")]
    assert table.count("<tr>") == 2 + 4 * 4
    heads = re.findall(r"<button type=button>(.*?)</button>", table)
    assert heads == [
        "method", "accuracy", "Hit@5", "oracle", "gap", "difference", "McNemar p", "first",
        "majority", "best-of-n", "policy tokens", "prompt tokens", "scorer tokens", "total tokens",
        "calls", "seconds", "questions", "failed", "unanswered", "budget spent",
    ]  # fmt: skip
    assert "Against majority" in table and table.count("data-value") == 16 * 19 - 4 * 2


def test_what_was_not_measured_has_no_column():
    result = {"methods": [{"name": "sbs", "points": [{"accuracy": 0.5, "seconds": float("nan")}]}]}
    text = search_page(result)
    assert re.findall(r"<button type=button>(.*?)</button>", text) == ["method", "accuracy"]
    assert Page(text).data()["methods"][0]["points"] == [{"label": "", "accuracy": 0.5}]
    assert ">Accuracy against cost</h2>" in text


def test_what_is_no_accuracy_is_not_called_so():
    result = {"methods": [{"name": "sbs", "points": [{"accuracy": 0.5}]}], "figure": "mean reward"}
    text = search_page(result)
    assert re.findall(r"<button type=button>(.*?)</button>", text) == ["method", "mean reward"]
    assert ">Mean reward against cost</h2>" in text and ">Mean reward</th>" in text


def test_numbers_as_a_person_reads_them():
    assert [amount(v) for v in (1234.5, 4, 12.34, 1.234, 0.012)] == [
        "1,234", "4", "12.3", "1.23", "0.012",
    ]  # fmt: skip
    assert [in_points(v) for v in (0.045, -0.2)] == ["+4.5", "−20.0"]
    assert [p_value(v) for v in (0.0004, 0.0312, 0.5)] == ["< 0.001", "0.031", "0.50"]


def test_a_search_becomes_a_tree_with_its_chosen_path():
    nodes = [
        {"parent": -1},
        {"parent": 0, "value": 0.5, "visits": 3, "chosen": True, "agent": "solver", "text": "a"},
        {"parent": 0, "value": None},
        {"parent": 1, "value": -0.25, "chosen": True, "answer": 4, "done": True},
    ]
    (question,) = search_data(searched(nodes, answer=4, correct=True, tokens=70))["questions"]
    (tree,) = question["trees"]
    assert question["gold"] == "4" and tree["answer"] == "4" and tree["correct"] is True
    assert [bool(node.get("chosen")) for node in tree["nodes"]] == [False, True, False, True]
    assert tree["columns"] == {"value": [None, 0.5, None, -0.25], "visits": [None, 3.0, None, None]}
    assert tree["size"] == 4 and tree["tokens"] == 70


def test_a_tree_that_is_cut_keeps_its_chosen_path():
    nodes = [{"parent": i - 1 if i < 4 else 0, "text": str(i)} for i in range(20)]
    nodes.append({"parent": 17, "text": "20", "chosen": True})
    packed = search_data(searched(nodes), PageLimits(nodes=5))
    tree = packed["questions"][0]["trees"][0]
    assert [packed["texts"][n["text"]] for n in tree["nodes"][1:]] == ["1", "2", "17", "20"]
    assert [n["parent"] for n in tree["nodes"]] == [-1, 0, 1, 0, 3]
    assert packed["left_out"] == [
        "Trees that show only their chosen path and first nodes, 5 in all: 1."
    ]


@pytest.mark.parametrize("parent", [1, 2, -1, None, "0", 1.0])
def test_a_node_before_its_parent_is_named(parent):
    with pytest.raises(DataError, match=r"question q, sbs: node 1 has parent .*: parents come"):
        search_page(searched([{"parent": -1}, {"parent": parent, "chosen": True}]))


def test_missing_and_empty_parts_still_give_a_page():
    for result in ({}, {"methods": [], "questions": []}, searched([]), searched(None)):
        assert "Nothing has been measured yet." in search_page(result)


def test_large_results_stay_within_limits():
    result = search_result(len(NAMES), 6, 30, 200)
    text = search_page(result, PageLimits(trees=40, trees_a_step=8, nodes=60, megabytes=1.0))
    assert len(text.encode("utf-8", "replace")) < 1.4e6
    assert "Trees of 5 of 30 questions are here, spread over the set." in text
    assert "Questions that show only their first trees: 5." in text


def test_a_long_anytime_curve_is_thinned_and_keeps_its_ends():
    curve = [[i, i / 1000] for i in range(1000)]
    result = {"methods": [{"name": "m", "points": [{"accuracy": 0.9, "anytime": curve}]}]}
    shown = search_data(result)["methods"][0]["points"][0]["anytime"]
    assert len(shown) == 120 and shown[0] == curve[0] and shown[-1] == curve[-1]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(StoreError, match=r"search\.html: the report cannot be written"):
        write_search({}, tmp_path / "none" / "search.html")


# --- in a browser --------------------------------------------------------------------------------

in_browser = pytest.mark.skipif(not shutil.which("chromium"), reason="chromium is not installed")
READING = "document.querySelector('#plot .reading').textContent"
COUNT = "document.querySelectorAll('{}').length"


@pytest.fixture(scope="module")
def browser():
    with Browser() as tab:
        yield tab


@pytest.fixture
def tab(browser, tmp_path):
    browser.width(1280)
    browser.open(write_search(search_result(), tmp_path / "search.html"))
    browser.events.clear()
    return browser


@in_browser
@pytest.mark.slow
def test_budgets_are_read_by_key_and_by_pointer(tab):
    tab.run("document.querySelector('.chart').focus()")
    assert tab.run(READING).startswith("greedy, n=1")
    for key, said in (("ArrowRight", "greedy, n=2"), ("End", "greedy, n=8"),
                      ("ArrowDown", "majority, n="), ("ArrowUp", "greedy, n=")):  # fmt: skip
        tab.press(key)
        assert tab.run(READING).startswith(said)
    spot = "document.querySelectorAll('.chart .spot')[4]"
    tab.run(f"{spot}.scrollIntoView({{block: 'center'}})")
    place = f"(b => [b.x + b.width / 2, b.y + b.height / 2])({spot}.getBoundingClientRect())"
    tab.click(*tab.run(place))
    assert tab.run(READING).startswith("majority, n=1")
    assert tab.run(COUNT.format(".halo")) == 1


@in_browser
@pytest.mark.slow
def test_axes_log_scale_legend_and_anytime_curves_are_chosen(tab):
    name = "document.querySelector('.axis-name').textContent"
    assert tab.run(name) == "total tokens a question, log scale"
    tab.run("document.getElementById('anytime').click()")
    assert tab.run(COUNT.format(".anytime")) == 16
    tab.run("document.querySelectorAll('#axis input')[2].click()")
    tab.run("document.getElementById('log').click()")
    assert tab.run(name) == "seconds a question"
    assert tab.run(COUNT.format(".anytime")) == 0
    assert tab.run("document.getElementById('anytime').disabled") is True
    for left in (12, 8, 4, 0):
        tab.run(f"document.querySelectorAll('.method input')[{3 - left // 4}].click()")
        assert tab.run("plot.picture.style.display === 'none' ? 0 : plot.shown.length") == left
    assert not tab.troubles()


@in_browser
@pytest.mark.slow
def test_the_table_is_sorted_by_its_heads(tab):
    column = "[...points.tBodies[0].rows].map((r) => Number(r.cells[1].dataset.value))"
    button = "document.querySelectorAll('#points button')[1].click()"
    tab.run(button)
    down = tab.run(column)
    tab.run(button)
    assert down == sorted(down, reverse=True) and tab.run(column) == down[::-1]
    tab.run("document.querySelectorAll('#points button')[5].click()")
    assert tab.run("points.tBodies[0].rows[15].cells[5].textContent") == "–"


@in_browser
@pytest.mark.slow
def test_questions_and_searches_are_picked_and_walked(tab):
    assert tab.run(COUNT.format(".side svg[role=tree]")) == 2
    assert tab.run("sides.map((s) => s.search.method)") == ["greedy", "majority"]
    tab.run("sides[1].select.value = 3; sides[1].select.dispatchEvent(new Event('change'))")
    tab.run("sides.after.click()")
    assert tab.run("sides.map((s) => s.search.method)") == ["greedy", "weighted vote"]
    assert "window.hurt" in tab.run("sides.text.textContent")
    assert tab.run("sides[0].outcome.textContent").startswith("answer 41 · wrong · 1,200 tokens")
    tab.run("sides[0].drawing.marks[0].focus(); choose(sides[0].drawing, 0, true)")
    tab.press("ArrowRight")
    assert tab.run("document.activeElement.getAttribute('aria-label')").startswith("node 1,")
    assert tab.run(COUNT.format(".side:first-child .node.chosen")) >= 2
    tab.press("Enter")
    assert "Node 1," in tab.run("document.activeElement.textContent")


@in_browser
@pytest.mark.slow
def test_every_step_can_be_read_and_hostile_texts_stay_texts(tab):
    tab.run("for (let q = 0; q < 3; q++) { chooseQuestion(q); for (const side of sides)"
            " side.search.nodes.forEach((_, i) => choose(side.drawing, i, true)); }")  # fmt: skip
    assert tab.run("window.hurt === undefined")
    assert tab.run(COUNT.format("img")) == 0
    assert not tab.troubles()


@in_browser
@pytest.mark.slow
@pytest.mark.parametrize("size", [(1, 1, 1, 3), (12, 6, 2, 60)])
def test_the_page_never_scrolls_sideways(browser, tmp_path, size):
    browser.events.clear()
    browser.open(write_search(search_result(*size), tmp_path / "search.html"))
    for width in (320, 390, 768, 1280):
        browser.width(width)
        assert browser.run("document.documentElement.scrollWidth") <= width
    stacked = "sides.length < 2 || sides[1].box.offsetTop > sides[0].box.offsetTop"
    assert browser.run(stacked) is (size[0] == 1)
    browser.width(390)
    assert browser.run(stacked) is True
    assert not browser.troubles()


@in_browser
@pytest.mark.slow
def test_an_empty_result_opens_without_trouble(browser, tmp_path):
    browser.events.clear()
    browser.open(write_search({}, tmp_path / "empty.html"))
    assert "No search trees were handed" in browser.run("document.body.textContent")
    assert not browser.troubles()
