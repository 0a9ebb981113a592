"""The page in a real browser: clicks, keys, phone width, hostile texts. Skipped where none is."""

import shutil

import pytest

from hornbeam.tree.nodes import Node, Origin, Tree, floats, ids
from hornbeam.view import ReportData, write_report

from .browser import Browser
from .run_data import report_data

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("chromium"), reason="chromium is not installed"),
]

HEAD = "document.querySelector('.step h3').textContent"
FOCUS = "document.activeElement.getAttribute('aria-label')"


@pytest.fixture(scope="module")
def browser():
    with Browser() as tab:
        yield tab


@pytest.fixture
def page(browser, tmp_path):
    browser.width(1280)
    browser.open(write_report(tmp_path / "report.html", report_data()))
    browser.events.clear()
    return browser


def middle(page, selector, place):
    """Where the middle of an element is, brought into the window."""
    box = f"document.querySelectorAll('{selector}')[{place}]"
    page.run(f"{box}.scrollIntoView({{block: 'center'}})")
    return page.run(
        f"(b => [b.x + b.width / 2, b.y + b.height / 2])({box}.getBoundingClientRect())"
    )


def test_a_click_shows_the_text_of_a_step(page):
    page.click(*middle(page, ".node .pill", 5))
    assert page.run(HEAD).startswith("Node 5, solver")
    assert "Answer: 93" in page.run("document.querySelector('.step').textContent")
    assert page.run("document.querySelectorAll('[aria-selected=true]').length") == 1


def test_arrow_keys_walk_the_tree(page):
    page.run("document.querySelector('.node[tabindex=\"0\"]').focus()")
    seen = []
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowLeft", "ArrowLeft", "Home", "End"):
        page.press(key)
        seen.append(page.run(FOCUS).split(",")[0].split(":")[0])
    assert seen == ["node 2", "node 3", "node 5", "node 2", "node 1", "task", "node 13"]
    page.press("Enter")
    assert page.run(FOCUS) == "Text of the chosen step"
    page.press("Escape")
    assert page.run(FOCUS).startswith("node 13")


def test_focus_can_be_seen(page):
    page.run("document.querySelector('.node[tabindex=\"0\"]').focus()")
    page.press("ArrowRight")
    ring = "getComputedStyle(document.activeElement.querySelector('.ring')).strokeWidth"
    assert page.run(ring) == "4px"


def test_steps_trees_and_colours_are_chosen_by_key(page):
    assert page.run("document.querySelector('output').textContent") == "step 60"
    page.run("document.querySelector('.steps input').focus()")
    page.press("ArrowLeft")
    assert page.run("document.querySelector('output').textContent") == "step 40"
    page.press("Home")
    assert page.run("document.querySelector('output').textContent") == "held-out"
    page.run("document.querySelector('.chip input').focus()")
    page.press("ArrowRight")
    assert page.run("document.querySelector('.question').textContent").startswith("Ann works")
    page.run("parts.column.value = 'reward'; parts.column.dispatchEvent(new Event('change'))")
    assert page.run("document.querySelector('.scale').textContent") == "−1+1"


def test_curves_are_read_by_key(page):
    page.run("document.querySelector('.chart').focus()")
    page.press("Home")
    reading = "document.querySelector('.reading').textContent"
    assert page.run(reading) == "start, step 0accuracy 6.0 %"
    page.press("ArrowRight")
    assert page.run(reading) == "warm start, step 0accuracy 23.5 %"


def test_hostile_texts_stay_texts(page):
    page.run("document.querySelectorAll('.chip input')[1].click()")
    count = page.run("drawing.marks.length")
    for i in range(count):
        page.run(f"choose(drawing, {i}, true)")
    assert page.run("window.hurt === undefined")
    assert page.run("document.querySelectorAll('img').length") == 0
    assert not page.troubles()


def test_the_page_never_scrolls_sideways(page):
    for width in (320, 375, 768, 1280):
        page.width(width)
        for tree in range(5):
            page.run(f"document.querySelectorAll('.chip input')[{tree}].click()")
            assert page.run("document.documentElement.scrollWidth") <= width


def test_an_empty_report_opens_without_trouble(browser, tmp_path):
    browser.events.clear()
    browser.open(write_report(tmp_path / "empty.html", ReportData("Empty")))
    assert "No trees were handed" in browser.run("document.body.textContent")
    assert not browser.troubles()


def chain(deep, rewards):
    """A tree of as many leaves as rewards, each below a path of its own of `deep` steps."""
    tree = Tree({"id": "deep", "question": "How deep?"})
    for episode, reward in enumerate(rewards):
        at = 0
        for step in range(deep):
            node = {"origin": Origin(episode, step), "tokens": ids([1]), "logprobs": floats([-1])}
            at = tree.append(Node(at, text=f"word {step}", done=step == deep - 1, **node))
        tree.column("reward")[at] = reward
    return tree


def test_the_page_opens_on_the_first_tree_with_mixed_outcomes(browser, tmp_path):
    same, mixed = chain(2, [0.0, 0.0]), chain(2, [0.0, 1.0])
    steps = {0: [same, mixed, mixed], 1: [same, same]}
    data = ReportData(title="t", metrics=[], costs={}, trees=steps)
    browser.open(write_report(tmp_path / "report.html", data))
    assert browser.run("document.querySelector('.chips input:checked').value") == "1"
    assert browser.run("document.querySelector('.steps output').textContent") == "step 0"


@pytest.mark.parametrize("width", [1280, 390])
def test_words_stand_under_the_pills_at_any_depth(browser, tmp_path, width):
    browser.width(width)
    data = ReportData(title="t", metrics=[], costs={}, trees={0: [chain(8, [0.0, 1.0])]})
    browser.open(write_report(tmp_path / "report.html", data))
    said = browser.run("[...document.querySelectorAll('.words')].map((w) => w.textContent)")
    assert sorted(said) == sorted(f"word {step}" for step in range(8) for _ in range(2))
    boxes = browser.run(
        "[...document.querySelectorAll('.words')].map((w) => w.getBoundingClientRect())"
        ".map((b) => [b.left, b.right, b.top, b.bottom])"
    )
    for a, (left, right, top, bottom) in enumerate(boxes):
        for other in boxes[a + 1 :]:
            assert right <= other[0] or other[1] <= left or bottom <= other[2] or other[3] <= top
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")


def test_any_other_number_begins_with_one_that_moves(browser, tmp_path):
    rows = [{"kind": "train", "step": n, "seconds": n, "a_b": 1, "zeal": n % 3} for n in range(5)]
    data = ReportData(title="t", metrics=rows, costs={})
    browser.open(write_report(tmp_path / "report.html", data))
    assert browser.run("document.getElementById('chosen').value") == "train: zeal|train|zeal"
