"""`hornbeam view FILE`: trees from anywhere, as text and as a page."""

import json

import pytest
from typer.testing import CliRunner

from hornbeam.cli.main import app
from hornbeam.errors import DataError, StoreError


def view(*words):
    result = CliRunner().invoke(app, ["view", *map(str, words)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


@pytest.fixture
def file(tmp_path):
    """Twenty trees of two answers each; the odd ones have no column."""
    rows = []
    for n in range(20):
        nodes = [{"parent": -1}, {"parent": 0, "text": f"say {n}"}, {"parent": 0, "done": True}]
        columns = {} if n % 2 else {"reward": [None, 1.0, 0.5]}
        rows.append({"task": {"id": f"q{n // 2}"}, "nodes": nodes, "columns": columns})
    path = tmp_path / "trees.jsonl"
    path.write_text("".join(json.dumps(row) + "\n\n" for row in rows), "utf-8")
    return path


def test_a_tree_is_printed_by_number_or_task(file):
    assert view(file, "--tree", "3").startswith("task q1\n")
    assert "say 2" in view(file, "--tree", 3) and "say 3" not in view(file, "--tree", 3)
    both = view(file, "--tree", "q1")
    assert "reward 0.5" in both and "say 2" in both and "say 3" in both


def test_a_column_is_chosen_and_those_that_are_there_are_told(file):
    row = json.loads(file.read_text("utf-8").split("\n", 1)[0])
    row["columns"]["value"] = [None, 0.25, None]
    file.write_text(json.dumps(row), "utf-8")
    assert view(file, "--tree", 1).splitlines()[-1] == "columns: reward, value; shown: reward"
    text = view(file, "--tree", 1, "--column", "value")
    assert "value 0.25  say 0" in text and "reward 1" not in text
    assert text.splitlines()[-1] == "columns: reward, value; shown: value"
    with pytest.raises(DataError, match=r"^tree q0: no column 'valu': did you mean 'value'\?$"):
        view(file, "--tree", 1, "--column", "valu")
    with pytest.raises(DataError, match="--column value: is of --tree"):
        view(file, "--column", "value")


def test_the_page_holds_every_tree(file, tmp_path):
    assert view(file) == f"Report: {tmp_path / 'trees.html'}\n"
    text = (tmp_path / "trees.html").read_text("utf-8")
    assert "Mean reward 0.75 of 20 leaves." in text and "20 trees · 40 leaves" in text
    assert '"one":"part"' in text and all(f'"say {n}"' in text for n in range(20))
    assert view(file, "--out", tmp_path / "own.html") == f"Report: {tmp_path / 'own.html'}\n"
    assert (tmp_path / "own.html").read_text("utf-8") == text


def test_a_page_goes_to_where_the_command_is_given_if_it_cannot_stand_beside(
    file, tmp_path, monkeypatch
):
    (tmp_path / "trees.html").mkdir()  # in its way
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    assert view(file) == "Report: trees.html\n"
    with pytest.raises(StoreError, match="cannot be written"):
        view(file, "--out", tmp_path / "none" / "x.html")


def test_it_says_what_it_wants(file, tmp_path):
    for which in ("21", "0", "q99", "train/1/0"):
        with pytest.raises(DataError, match=r"a number from 1 to 20, or the id .*'q0'"):
            view(file, "--tree", which)
    with pytest.raises(DataError, match="no such file in"):
        view(tmp_path / "none.jsonl")
    with pytest.raises(StoreError, match="is of run folders"):
        view(file, "--store", "sqlite:///x")
    with pytest.raises(StoreError, match="is of a file of trees"):
        view(tmp_path, "--out", "x.html")
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"kind": "train"}\n', "utf-8")
    with pytest.raises(DataError, match=r"bad\.jsonl, line 1: 'task'"):
        view(bad)
    bad.write_text("", "utf-8")
    with pytest.raises(DataError, match="holds no tree"):
        view(bad)
