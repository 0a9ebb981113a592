"""docs/ stays short and in plain technical English: lines, words, phrases."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

LINE = 120  # characters; rows of tables and of JSON lines cannot be wrapped, so they may be longer
ROWS = ("|", '{"')
WORDS = 17_000  # of all pages but those below, raised on purpose only
UNCOUNTED = ("log.md", "families.md")  # the log; a page that a script writes
GENERATED = (  # tables that scripts write into pages
    re.compile(r"<!-- (\w+) -->.*?<!-- /\1 -->", re.DOTALL),
    re.compile(r"^\| `\w+` \| [\d. ]*\|.*$", re.MULTILINE),
)
CODE = re.compile(r"^```.*?^```|^    .*$", re.DOTALL | re.MULTILINE)

# Coined ways of saying, and what to say instead.
PHRASES = {
    "came of it": "result",
    "what came of": "result",
    "what it came to": "result",
    "told again": "encoded again, replayed",
    "ids that went in": "prompt ids",
    "who spoke": "the agent that sampled",
    "in step": "synchronous",
    "comes home": "is returned",
    "had for nothing": "free",
    "takes its seat": "takes its lease",
    "afar": "remote",
}


def words(page: Path) -> int:
    """Words outside code and generated tables: what holds a letter or a digit."""
    text = page.read_text("utf-8")
    for pattern in (*GENERATED, CODE):
        text = pattern.sub("", text)
    return sum(bool(re.search(r"\w", word)) for word in text.split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lines_are_short(page: Path) -> None:
    lines = page.read_text("utf-8").splitlines()
    assert [line for line in lines if len(line) >= LINE and not line.startswith(ROWS)] == []


@pytest.mark.parametrize("page", [*PAGES, ROOT / "AGENTS.md"], ids=lambda page: page.name)
def test_phrases_are_plain(page: Path) -> None:
    text = " ".join(page.read_text("utf-8").lower().split())
    found = {phrase for phrase in PHRASES if re.search(rf"\b{phrase}\b", text)}
    assert found == set(), {phrase: PHRASES[phrase] for phrase in found}


def test_the_docs_keep_their_budget() -> None:
    pages = [page for page in (ROOT / "docs").glob("*.md") if page.name not in UNCOUNTED]
    counts = {page.name: words(page) for page in pages}
    assert sum(counts.values()) <= WORDS, counts
