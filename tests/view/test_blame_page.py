"""The page of a blame: every text of a run stands in it as text, in a browser too."""

import shutil

import pytest

from hornbeam.jobs.blame.blame_report import summary
from hornbeam.tree.nodes import Node, Origin, Tree, floats, ids
from hornbeam.view.blame_page import blame_page, write_blame

from .browser import Browser

EVIL = "</pre><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"


def value(position, mean, chance, text=""):
    bounds = [max(0.0, mean - 0.1), min(1.0, mean + 0.1)]
    facts = {"forks": 4, "successes": 2.0, "agent": "solver", "text": text}
    return {"position": position, "value": mean, "interval": bounds, "chance": chance, **facts}


def run(place="train/0/1", why="found"):
    """A record as `blame_report.record` makes them, its texts hostile."""
    return {
        "tree": place, "leaf": 3, "task": EVIL, "question": EVIL, "outcome": 0.0, "answer": EVIL,
        "error": "", "finding": f"step 2 ({EVIL}) lost it", "why": why, "likeliest": 2,
        "step": 2 if why == "found" else None, "node": 2, "agent": EVIL, "tool": EVIL,
        "kind": "call", "heard": [EVIL], "said": EVIL, "drop": 0.5, "forks": 8, "tokens": 40,
        "instead": [{"text": EVIL, "count": 3, "agent": "solver"}],
        "by_agent": {EVIL: 0.5, "critic": 0.1},
        "values": [value(0, 0.6, 0), value(1, 0.6, 0.1, "so"), value(2, 0.1, 0.9, EVIL)],
    }  # fmt: skip


def tree():
    """A run of two steps with a fork."""
    out = Tree({"id": EVIL, "question": EVIL})
    for parent, origin, done in ((0, (0, 0), False), (1, (0, 1), True), (1, (1, 0), True)):
        said = {"tokens": ids([1, 2]), "logprobs": floats([-0.1, -0.2]), "text": EVIL}
        node = Node(parent, EVIL, finish="stop", origin=Origin(*origin), done=done, **said)
        out.append(node)
    out.column("reward")[2], out.column("reward")[3] = 0.0, 1.0
    return out


def test_no_text_of_a_run_is_markup():
    records = [run(), run("train/0/2", "undecided"), run("train/0/3", "never")]
    page = blame_page(f"Blame of {EVIL}", records, summary(records), [tree()] * 3)
    assert page.count("<script") == 2 and "<img" not in page  # the data, and ours
    assert page.count("<tr class=lost>") == 1 and page.count("</pre>") == 2 * 3
    assert page.count("class='card run'") == 3
    assert "1 of 3 runs were lost by a step that was found." in page


def test_more_runs_than_it_shows_are_told():
    records = [run(f"train/0/{n}") for n in range(51)]
    page = blame_page("Blame", records, summary(records), [tree()] * 51)
    assert "The first 50 of 51 runs are shown." in page and page.count("class='card run'") == 50


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("chromium"), reason="chromium is not installed")
def test_a_browser_shows_it_and_runs_nothing_of_it(tmp_path):
    records = [run(), run("train/0/2")]
    path = write_blame(tmp_path / "p.html", "Blame", records, summary(records), [tree()] * 2)
    with Browser() as tab:
        tab.width(1280)
        tab.open(path)
        assert tab.run("document.title") == "Blame · Hornbeam"
        assert tab.run("document.querySelectorAll('.run').length") == 2
        assert tab.run("document.querySelector('.run pre').textContent") == EVIL
        assert tab.run("document.querySelectorAll('.node').length") == 4
        assert tab.run("document.querySelectorAll('img').length") == 0
        wide = tab.run("document.documentElement.scrollWidth <= innerWidth")
        tab.width(390)
        assert wide and tab.run("document.documentElement.scrollWidth <= innerWidth")
