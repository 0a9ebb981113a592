"""`hornbeam export`: the stages of a run, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from hornbeam.cli.main import app
from hornbeam.errors import DataError
from hornbeam.store.database import Store, TreeKey
from hornbeam.tree.jsonl import read_trees
from hornbeam.tree.nodes import Node, Tree


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with a tree of each of two stages."""
    step = Node(0, text="four", done=True)
    with Store(tmp_path / "run") as store:
        for stage in ("eval", "train"):
            tree = Tree({"id": "q"})
            store.begin(TreeKey(stage, 0, 0), tree)
            store.write(TreeKey(stage, 0, 0), tree, tree.append(step), step)
    return tmp_path / "run"


def test_a_stage_is_exported(run: Path) -> None:
    text = CliRunner().invoke(app, ["export", str(run), "--stage", "eval"])
    assert text.exit_code == 0 and text.output == f"1 trees: {run / 'trees.jsonl'}\n"
    assert len(list(read_trees(run / "trees.jsonl"))) == 1
    assert CliRunner().invoke(app, ["export", str(run)]).output.startswith("2 trees")


def test_an_unknown_stage_and_a_run_without_trees_write_nothing(run: Path, tmp_path: Path) -> None:
    text = CliRunner().invoke(app, ["export", str(run), "--stage", "evl"])
    assert isinstance(text.exception, DataError)
    assert str(text.exception) == "--stage evl: no trees of that stage: did you mean 'eval'?"
    text = CliRunner().invoke(app, ["export", str(run), "--stage", "label"])
    assert str(text.exception).endswith("no trees of that stage: known: eval, train")
    Store(tmp_path / "bare").close()
    text = CliRunner().invoke(app, ["export", str(tmp_path / "bare")])
    assert isinstance(text.exception, DataError) and "holds no tree yet" in str(text.exception)
    assert not (run / "trees.jsonl").exists() and not (tmp_path / "bare/trees.jsonl").exists()
