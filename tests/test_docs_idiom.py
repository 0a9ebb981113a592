"""Docs and messages stay short and in plain technical English: lines, words, phrases."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SOURCES = sorted((ROOT / "src").rglob("*.py"))

LINE = 120  # characters; rows of tables and of JSON lines cannot be wrapped, so they may be longer
ROWS = ("|", '{"')
WORDS = 21_000  # of all pages but those below, raised on purpose only
UNCOUNTED = ("log.md", "families.md")  # the log; a page that a script writes
GENERATED = (  # tables that scripts write into pages
    re.compile(r"<!-- (\w+) -->.*?<!-- /\1 -->", re.DOTALL),
    re.compile(r"^\| `\w+` \| [\d. ]*\|.*$", re.MULTILINE),
)
CODE = re.compile(r"^```.*?^```|^    .*$", re.DOTALL | re.MULTILINE)

# Coined ways of saying, and what to say instead; in docs, and in docstrings and messages of src.
PHRASES = {
    "came of (it|the)": "result",
    "what (it|a|the) \\w+ came to": "result",
    "what it came to": "result",
    "told again": "encoded again, replayed",
    "ids that went in": "prompt ids",
    "who spoke": "the agent that sampled",
    "com(es|e|ing) home": "is returned",
    "had for nothing": "free",
    "hangs on": "depends on",
    "is told against": "is compared with",
    "turnstiles?": "barrier",
    "the desk": "request queue",
    "afar": "remote",
}


def coined(text: str) -> dict[str, str]:
    """The phrases of the list that a text has, with what to say instead."""
    text = " ".join(text.lower().split())
    return {said: plain for said, plain in PHRASES.items() if re.search(rf"\b{said}\b", text)}


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
    assert coined(page.read_text("utf-8")) == {}


@pytest.mark.parametrize(
    "path", SOURCES, ids=lambda path: path.relative_to(ROOT / "src").as_posix()
)
def test_docstrings_and_messages_are_plain(path: Path) -> None:
    strings = [
        node.value
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    assert coined("\n".join(strings)) == {}


def test_the_docs_keep_their_budget() -> None:
    pages = [page for page in (ROOT / "docs").glob("*.md") if page.name not in UNCOUNTED]
    counts = {page.name: words(page) for page in pages}
    assert sum(counts.values()) <= WORDS, counts
