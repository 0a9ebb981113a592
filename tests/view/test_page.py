"""The report page: what stands in it, and that no text of a run becomes markup or script."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from importlib.resources import files

import pytest

from hornbeam.errors import StoreError
from hornbeam.tree.nodes import Node, Tree
from hornbeam.view import PageLimits, ReportData, report_html, write_report
from hornbeam.view.colour import DARK, LIGHT
from hornbeam.view.page import asset, embed
from hornbeam.view.report import duration, outcome, trees_html

from .run_data import report_data

ASSETS = [path for path in files("hornbeam.view").iterdir() if path.name.endswith(".js")]


class Page(HTMLParser):
    """Tags with their attributes, and the text of the scripts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts, self.inside = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = tag == "script"
        if self.inside:
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.scripts[-1] += data

    def data(self):
        return json.loads(self.scripts[0])


@pytest.fixture(scope="module")
def text():
    return report_html(report_data())


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def test_every_line_of_a_panel_has_a_look():
    panels = re.findall(r"keys: \[([^\]]*)\]", asset("charts.js"))
    most = max(len(keys.split(",")) for keys in panels)
    style = asset("page.css")
    assert most >= 4 and all(f".s{n} {{ stroke" in style for n in range(most))
    assert all(f".dot.s{n} {{ fill" in style for n in range(most))


def test_texts_of_a_run_become_neither_markup_nor_script(page):
    names = [tag for tag, _ in page.tags]
    assert names.count("script") == 2
    assert not {"img", "b", "iframe", "link"} & set(names)
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)


def test_every_text_reaches_the_page_as_it_was(page):
    data = page.data()
    said = {
        data["texts"][n["text"]]
        for s in data["steps"]
        for t in s["trees"]
        for n in t["nodes"]
        if "text" in n
    }
    assert any("</script><script>window.hurt = 1" in text for text in said)
    assert "Sold: CALC[14 * 6]" in said


def test_the_policy_admits_our_script_alone_and_no_network(page):
    policy = next(
        a["content"] for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"
    )
    digest = base64.b64encode(hashlib.sha256(page.scripts[1].encode()).digest()).decode()
    assert policy.startswith("default-src 'none';")
    assert f"script-src 'sha256-{digest}'" in policy
    assert "unsafe-inline" not in policy.split("script-src")[1]


def test_nothing_is_fetched(text):
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style and "@import" not in style
    assert not re.search(r"\b(src|href)=", text[: text.index('id="data"')])


def test_scripts_never_turn_strings_into_markup():
    for each in ASSETS:
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", each.read_text()
        )


def test_the_head_tells_the_outcome(text):
    assert "6.0 % (12 of 200) at the start, 23.5 % (47 of 200) after the warm start" in text
    assert "Calculator: &lt;b&gt;word problems&lt;/b&gt;" in text
    assert "60 training steps · wall time 14 min 52 s" in text


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "Nothing has been measured yet."),
        (
            [{"kind": "eval", "accuracy": 0.5, "stage": "train", "step": 7}],
            "Held-out accuracy: 50.0 % at step 7.",
        ),
        (
            [{"kind": "eval", "accuracy": 0.5, "figure": "mean reward", "stage": "final"}],
            "Held-out mean reward: 0.500 at the end.",
        ),
        (
            [{"kind": "train", "step": i, "reward": i / 4} for i in (1, 2)],
            "No held-out accuracy yet; training reward 0.25 at step 1, 0.5 at step 2.",
        ),
        ([{"kind": "train", "step": 1, "reward": None}], "Nothing has been measured yet."),
    ],
)
def test_outcome_in_one_sentence(rows, said):
    assert outcome(rows) == said


def test_an_empty_run_still_gives_a_page():
    page = Page(report_html(ReportData("nothing yet")))
    assert page.data() == {"metrics": [], "one": "step", "steps": [], "texts": []}


def test_trees_without_rewards_have_a_page():
    tree = Tree({"id": "t"})
    tree.append(Node(0, "a", text="said", finish="stop", done=True))
    assert "No leaf has a reward." in trees_html("given", [tree])


def test_not_a_number_stays_out_of_the_curves():
    rows = [
        {"kind": "train", "step": 1, "loss": float("nan"), "kl": 0.5, "grad_norm": float("inf")}
    ]
    assert Page(report_html(ReportData("t", metrics=rows))).data()["metrics"] == [
        {"kind": "train", "step": 1, "kl": 0.5}
    ]


def test_what_does_not_fit_is_told():
    tree = Tree({"id": 1, "question": "q"})
    for i in range(9):
        tree.append(Node(i, text="x" * 50))
    trees = {step: [tree, tree] for step in range(5)}
    limits = PageLimits(trees=3, trees_a_step=1, nodes=4, characters=20, rows=2)
    rows = [{"kind": "train", "step": i} for i in range(5)]
    text = report_html(ReportData("t", metrics=rows, trees=trees), limits)
    for result in (
        "Curves show 2 of 5 rows of kind “train”.",
        "Trees of 3 of 5 steps are here, spread over the run.",
        "Steps that show only their first trees: 3.",
        "Trees that show only their first 4 nodes: 3.",
        "Texts cut at 20 characters: 1.",
    ):
        assert result in text
    shown = Page(text).data()["steps"]
    assert [step["step"] for step in shown] == [0, 2, 4]
    assert [node["row"] for node in shown[0]["trees"][0]["nodes"]] == [0, 0, 0, 0]


def test_steps_without_room_are_never_looked_up():
    class Steps(dict):
        def __getitem__(self, step):
            asked.append(step)
            return super().__getitem__(step)

    asked = []
    trees = Steps({step: [Tree({"id": step})] for step in range(50)})
    report_html(ReportData("t", trees=trees), PageLimits(trees=3))
    assert sorted(asked) == [0, 24, 49]


def test_embedded_json_cannot_end_its_script():
    value = {"a": "</script><!--<script>&\u2028", "b": [1, None, 0.5]}
    text = embed(value)
    assert not set("<>&") & set(text)
    assert json.loads(text) == value


def test_the_wall_clock_of_the_table_is_that_of_the_last_row():
    rows = [{"kind": "train", "seconds": 306.4}, {"kind": "eval", "seconds": 320.8}]
    text = report_html(ReportData("t", metrics=rows, costs={"seconds": 627.2}))
    assert "wall time 5 min 21 s" in text and "<td>321</td>" in text and "627" not in text


@pytest.mark.parametrize(
    ("seconds", "said"), [(42, "42 s"), (185, "3 min 5 s"), (7800, "2 h 10 min")]
)
def test_durations_as_a_person_says_them(seconds, said):
    assert duration(seconds) == said


def test_a_report_replaces_the_old_one_whole(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    assert write_report(path, ReportData("new")) == path
    assert "<title>new · Hornbeam</title>" in path.read_text()
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(StoreError, match=r"report\.html: the report cannot be written"):
        write_report(tmp_path / "none" / "report.html", ReportData("t"))


def test_page_and_picture_share_their_colours():
    style = (files("hornbeam.view") / "page.css").read_text()
    light, dark = style.split("@media (prefers-color-scheme: dark)", 1)
    for part, theme in ((light, LIGHT), (dark, DARK)):
        for name, value in (
            ("card", theme.background), ("ink", theme.ink), ("soft", theme.soft),
            ("edge", theme.edge), ("zero", theme.zero), ("pos", theme.positive),
            ("neg", theme.negative), ("pos-line", theme.positive_line),
            ("neg-line", theme.negative_line),
        ):  # fmt: skip
            assert f"--{name}: {value};" in part


@pytest.mark.skipif(not shutil.which("node"), reason="needs node to read JavaScript")
def test_the_script_is_javascript(page, tmp_path):
    path = tmp_path / "page.js"
    path.write_text(page.scripts[1])
    subprocess.run(["node", "--check", path], check=True)
