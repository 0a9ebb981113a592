"""docs/tree-format.md holds: its examples are trees, and its tables name every field there is."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from hornbeam.cli.credit_command import credited
from hornbeam.tree.jsonl import FIELDS, VERSION, from_json, json_line, to_json
from hornbeam.tree.nodes import Call, Node, Origin

PAGE = (Path(__file__).parents[1] / "docs" / "tree-format.md").read_text(encoding="utf-8")
EXAMPLES = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]


def fields(heading: str) -> list[str]:
    """First column of the first table after some text of the page."""
    table = PAGE.split(heading, 1)[1].split("|---", 1)[1].split("\n\n", 1)[0]
    return re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_are_read_and_written_as_they_stand(example: dict) -> None:
    written = to_json(from_json(example))
    assert {"version": 1, **example} == written


def test_the_credited_example_is_what_the_filter_writes(tmp_path: Path) -> None:
    bare, expected = EXAMPLES[:2]
    file = tmp_path / "trees.jsonl"
    file.write_text(json_line(bare))
    assert [json.loads(line) for line in credited("dr_grpo", str(file), {})] == [expected]


def test_the_full_example_uses_every_field() -> None:
    full = EXAMPLES[2]
    assert set().union(*full["nodes"]) == set(FIELDS)
    calls = [call for node in full["nodes"] for call in node.get("calls", [])]
    assert set().union(*calls) == set(Call.__slots__)


def test_contexts_are_as_the_page_says() -> None:
    tree = from_json(EXAMPLES[2])
    assert list(tree.context(3)) == [1, 22, 30, 31, 32, 23]
    assert list(tree.context(4)) == [1, 22, 30]


def test_tables_name_every_field_and_nothing_else() -> None:
    assert fields("## A line") == ["version", "task", "seed", "nodes", "columns"]
    assert fields("## A node") == list(FIELDS)
    assert sorted(FIELDS) == sorted({*Node.__slots__, *Origin.__slots__} - {"origin"})
    assert fields("\nA call:") == list(Call.__slots__)
    assert fields("## Columns") == list(EXAMPLES[1]["columns"])
    assert f"version {VERSION}" in PAGE.splitlines()[0]
