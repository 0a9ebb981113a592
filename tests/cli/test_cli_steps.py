"""`hornbeam steps`: there and back, and what it refuses."""

import json

import pytest
from typer.testing import CliRunner

from hornbeam.cli.main import app
from hornbeam.errors import DataError
from hornbeam.tree.jsonl import read_trees, write_trees
from hornbeam.tree.nodes import Node, Tree, ids


def run(*words):
    result = CliRunner().invoke(app, ["steps", *map(str, words)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


@pytest.fixture
def labelled(tmp_path):
    """A question, two first steps, one of them gone on from."""
    tree = Tree({"id": "q", "question": "How many?"})
    for parent, text, q in ((0, "one", 1.0), (0, "two", -1.0), (1, "three", -1.0)):
        i = tree.append(Node(parent, tokens=ids([1]), text=text, done=parent == 1))
        tree.column("q")[i] = q
    path = tmp_path / "trees.jsonl"
    write_trees([tree], path)
    return path


@pytest.mark.parametrize("kind", ["trl", "math-shepherd", "prm800k"])
def test_labelled_trees_go_there_and_back(labelled, tmp_path, kind):
    rows, back = tmp_path / "rows.jsonl", tmp_path / "back.jsonl"
    assert "rows" in run(labelled, "--to", kind, "--out", rows)
    assert all(json.loads(line) for line in rows.read_text("utf-8").splitlines())
    assert "1 trees" in run(rows, "--from", kind, "--out", back)
    (tree,) = read_trees(back)
    found = {(node.text, q) for node, q in zip(tree.nodes, tree.columns["q"]) if q is not None}
    assert {("one", 1.0), ("three", -1.0)} <= found


def test_rows_that_end_early_are_told(tmp_path):
    rows = [
        {"question": "q", "steps": steps, "ratings": [1] * len(steps)}
        for steps in (["a", None], ["a", "b"], [])
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    result = run(path, "--from", "prm800k", "--out", tmp_path / "trees.jsonl")
    assert "1 trees" in result and "; 1 row ended early, at a step that is empty" in result
    assert "; 1 row without a step, left out" in result


def test_it_says_what_it_wants(labelled, tmp_path):
    out = tmp_path / "x"
    with pytest.raises(DataError, match="say --to or --from"):
        run(labelled, "--out", out)
    with pytest.raises(DataError, match="no such file"):
        run(tmp_path / "none", "--to", "trl", "--out", out)
    with pytest.raises(DataError, match="unknown format"):
        run(labelled, "--to", "trll", "--out", out)
