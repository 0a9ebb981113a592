"""Labels by temporal differences of a value model: by hand, by laws, and by the command."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from hornbeam.cli.label_command import labelled
from hornbeam.cli.main import app
from hornbeam.errors import DataError, RecipeError
from hornbeam.search.labels import label
from hornbeam.search.td_labels import TdLabels
from hornbeam.tree.jsonl import json_line, to_json
from hornbeam.tree.nodes import Tree
from little_trees import tree, trees


def valued() -> Tree:
    r"""0 - 1 - 2 (R = 1), 1 - 3 - 4 (R = 0), values v1 = 0.5, v2 = 0.25, v3 = -0.5, v4 = 0."""
    t = tree([0, 1, 1, 3], {2: 1.0, 4: 0.0})
    t.columns["value"] = [None, 0.5, 0.25, -0.5, 0.0]
    return t


def test_by_hand() -> None:
    # q2 = 1, q4 = -1; q3 = v4/2 + q4/2 = -1/2; q1: mean of (1/4 + 1)/2 and (-1/2 - 1/2)/2 = 1/16
    found = TdLabels(lam=0.5).columns(valued())
    assert found["q"] == pytest.approx([(0.5 + 1 / 16) / 2, 1 / 16, 1.0, -0.5, -1.0])
    assert found["visits"] == [2.0, 2.0, 1.0, 1.0, 1.0]
    # d1 = gamma v2 - v1, d2 = 1 - v2 and so on: v + the discounted sum of differences
    q = TdLabels(lam=0.5, gamma=0.8).columns(valued())["q"]
    v, step = valued().columns["value"], 0.8 * 0.5
    left = (0.8 * v[2] - v[1]) + step * (1 - v[2])
    right = (0.8 * v[3] - v[1]) + step * (0.8 * v[4] - v[3]) + step**2 * (-1 - v[4])
    assert q[1] == pytest.approx(v[1] + (left + right) / 2)


def test_what_has_no_value_is_looked_through() -> None:
    t = valued()
    t.columns["value"][3] = None
    q = TdLabels(lam=0).columns(t)["q"]
    assert q[3] == 0.0 and q[1] == pytest.approx((0.25 + 0.0) / 2)


@given(t=trees())
def test_all_of_lambda_is_monte_carlo(t: Tree) -> None:
    found, plain = TdLabels(lam=1).columns(t), label(t)
    assert found["visits"] == plain["visits"]
    assert [q is None for q in found["q"]] == [q is None for q in plain["q"]]
    for a, b in zip(found["q"], plain["q"]):
        assert a is None or a == pytest.approx(b, abs=1e-9)


@given(t=trees(), lam=st.floats(0, 1))
def test_labels_stay_in_their_range(t: Tree, lam: float) -> None:
    assert all(q is None or -1 <= q <= 1 for q in TdLabels(lam=lam).columns(t)["q"])


def test_the_command_writes_q_beside_what_was_there(tmp_path) -> None:
    file = tmp_path / "trees.jsonl"
    file.write_text(json_line(to_json(valued())))
    got = CliRunner().invoke(app, ["label", "td", str(file), "--set", "lam=0.5"])
    columns = json.loads(got.stdout)["columns"]
    assert got.exit_code == 0 and columns["value"] == valued().columns["value"]
    assert columns["q"] == TdLabels(lam=0.5).columns(valued())["q"]


def test_what_is_missing_or_wrong_is_told(tmp_path) -> None:
    file, bare = tmp_path / "trees.jsonl", valued()
    del bare.columns["value"]
    file.write_text(json_line(to_json(bare)))
    with pytest.raises(DataError, match=r"line 1: task 'q': no column 'value' of values"):
        labelled("td", str(file), {})
    with pytest.raises(RecipeError, match="no setting 'lambda'"):
        labelled("td", str(file), {"lambda": 1})
    bare.columns["value"] = [None, 2.0, 0, 0, 0]
    with pytest.raises(DataError, match=r"node 1: value 2.0 is not in \[-1, 1\]"):
        TdLabels().columns(bare)
