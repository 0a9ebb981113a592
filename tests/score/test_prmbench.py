"""PRMBench: the official figures, both forms of its files, and the command."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from hornbeam.cli.main import app
from hornbeam.errors import DataError
from hornbeam.score.prmbench import (
    Verdict,
    categories,
    figures,
    read_marked,
    read_verdicts,
    report,
)
from score.test_processbench import fitted, write  # noqa: F401

T, F = True, False
SAID = [  # of four solutions: class, wrong steps, what is said of each step
    Verdict("a", "circular", (1, 2), (T, F, T, T)),  # TP 2  TN 1  FP 1
    Verdict("b", "circular", (0,), (T, F)),  # FP 1  FN 1
    Verdict("b", "redundency", (1,), (T, F, F)),  # TP 1  TN 1  FN 1
    Verdict("a", "multi_solutions", (), (T, T, F, T)),  # TP 3  FN 1
    Verdict("c", "deception", (0,), None),
    Verdict("a", "correct", (), (T, T, F, F)),
    Verdict("b", "correct", (), (F, F)),  # none right: a similarity to it is not counted
]


def test_figures_by_hand() -> None:
    total, by_class = report(SAID)
    assert (total.true_right, total.false_right, total.true_wrong, total.false_wrong) == (
        6,
        2,
        2,
        3,
    )
    data = total.to_json()
    assert data["items"] == 4  # originals are apart, and one has no verdict
    assert data["f1"] == pytest.approx(100 * 12 / 17)  # P = 6/8, R = 6/9
    assert data["negative_f1"] == pytest.approx(100 * 4 / 9)  # P = 2/5, R = 2/4
    assert data["prm_score"] == pytest.approx(50 * (12 / 17 + 4 / 9))
    assert (data["precision"], data["negative_precision"]) == (75.0, pytest.approx(40.0))
    assert (data["recall"], data["negative_recall"]) == (pytest.approx(200 / 3), 50.0)
    assert data["total_step_acc"] == pytest.approx(100 * 8 / 13)
    assert data["first_error_acc"] == pytest.approx(200 / 3)  # a: step 1 yes, b: step 0 no, step 1
    assert data["similarity"] == pytest.approx(25.0)  # a: |3/4 - 1/2| twice
    assert list(by_class) == ["redundency", "circular", "deception", "multi_solutions", "correct"]
    many = by_class["multi_solutions"]  # no step is wrong: F1 alone is the score
    assert many.negative_f1 is None and many.prm_score == many.f1 == pytest.approx(600 / 7)
    assert by_class["deception"].prm_score is None
    means = categories(by_class)
    assert means["sensitivity"] is None and means["soundness"] is None  # a class of them has none
    circular = 50 * (4 / 7 + 2 / 5)  # TP 2 FP 2 FN 1 TN 1
    assert by_class["circular"].prm_score == pytest.approx(circular)
    redundency = 50 * (2 / 3 + 2 / 3)
    assert means["simplicity"] == pytest.approx((circular + redundency) / 2)


steps = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=6)


@given(st.lists(steps, min_size=1, max_size=6))
def test_the_figures_are_those_of_the_official_script(solutions: list) -> None:
    """Precision and recall of right steps, then of wrong ones, where it has a number for them."""
    items = [
        Verdict(
            str(n),
            "circular",
            tuple(k for k, (wrong, _) in enumerate(pairs) if wrong),
            tuple(right for _, right in pairs),
        )
        for n, pairs in enumerate(solutions)
    ]
    found = figures(items, {}).to_json()
    flat = [pair for pairs in solutions for pair in pairs]
    for kind, wrong in (("f1", False), ("negative_f1", True)):
        hits = sum(w is wrong and r is not wrong for w, r in flat)
        said = sum(r is not wrong for _, r in flat)
        there = sum(w is wrong for w, _ in flat)
        if hits:
            p, r = hits / said, hits / there
            assert found[kind] == pytest.approx(100 * 2 * p * r / (p + r))
        else:
            assert found[kind] == (0.0 if there else None)
    first = [
        not pairs[wrong.index(True)][1]
        for pairs in solutions
        if any(wrong := [w for w, _ in pairs])
    ]
    assert found["first_error_acc"] == (
        pytest.approx(100 * sum(first) / len(first)) if first else None
    )


ROW = {  # as it is published, steps from 1
    "idx": "p_7",
    "classification": "redundency",
    "original_question": "3 + 4 ?",
    "modified_question": "3 + 4 = ?",
    "original_process": ["3 + 4", "7"],
    "modified_process": ["3 + 4", "4 + 3", "7"],
    "error_steps": [2, 9],
}
OURS = {
    "id": "p_7-circular",
    "classification": "circular",
    "question": "3 + 4 ?",
    "steps": ["7", "", "7 = 7"],
    "error_steps": [2],
}


def test_both_forms_are_read(tmp_path: Path) -> None:
    one = write(tmp_path / "one.jsonl", [ROW, OURS, ROW])
    marked, notes = read_marked([one])
    found = {(m.solution.split, m.solution.id): m for m in marked}
    assert list(found) == [("redundency", "p_7"), ("correct", "p_7"), ("circular", "p_7")]
    assert [m.wrong for m in marked] == [(1,), (), (2,)]
    assert found["redundency", "p_7"].solution.problem == "3 + 4 = ?"
    assert found["correct", "p_7"].solution.steps == ("3 + 4", "7")
    assert notes == [
        "1 solutions of a class and id that came before were passed over",
        "1 solutions name a wrong step that they do not have",
    ]
    packed = tmp_path / "many.jsonl.gz"
    with gzip.open(packed, "wt") as stream:
        stream.writelines(json.dumps({**OURS, "id": str(n)}) + "\n" for n in range(5))
    drawn, one = [], write(tmp_path / "two.jsonl", [ROW, ROW])
    for seed in range(20):
        marked, notes = read_marked([packed, one], count=2, seed=seed)
        *two, last, before = [m.solution.id for m in marked]
        assert (last, before) == ("p_7", "p_7") and two == sorted(two) and len(notes) == 2
        drawn.append(tuple(two))
    assert {name for two in drawn for name in two} == set("01234")  # not the head of the file
    assert read_marked([packed, one], count=2, seed=3) == read_marked([packed, one], 2, 3)
    assert len(read_marked([packed, one], count=5)[0]) == 7


def test_a_step_below_the_threshold_is_wrong_an_empty_one_without_a_value_is_not(tmp_path) -> None:
    (item,), _ = read_marked([write(tmp_path / "f.jsonl", [OURS])])
    assert item.said([0.2, -0.9, 0.1], 0.2).right == (True, False, False)
    assert item.said([0.2, None, -0.1], 0.0).right == (True, True, False)
    assert item.said([0.2, 0.3, None], 0.0).right is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": []}, "'steps' must be a list of texts"),
        ({"error_steps": [True]}, "'error_steps' must be a list of steps"),
        ({"error_steps": "2"}, "'error_steps' must be a list of steps"),
        ({"classification": ""}, "'classification' must be a text"),
        ({"classification": "redundency"}, "no 'original_steps'"),
        ({"question": None}, "'question' must be a text"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, change: dict, message: str) -> None:
    file = write(tmp_path / "f.jsonl", [OURS, {**OURS, **change}])
    with pytest.raises(DataError, match=f"line 2: {message}"):
        read_marked([file])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"right": [1]}, "'right' must be true or false a step, or null"),
        ({"right": []}, "'right' must be"),
        ({"error_steps": [4]}, "steps from 0 are expected"),
        ({"error_steps": [-1]}, "steps from 0 are expected"),
        ({}, "circular a was judged in line 1 already"),
    ],
)
def test_a_bad_verdict_is_named(tmp_path: Path, change: dict, message: str) -> None:
    line = SAID[0].to_json()
    file = write(tmp_path / "f.jsonl", [line, {**line, **change}])
    with pytest.raises(DataError, match=f"line 2: .*{message}"):
        read_verdicts(file)


def test_the_command(tmp_path: Path) -> None:
    file = write(tmp_path / "p.jsonl", [verdict.to_json() for verdict in SAID])
    assert read_verdicts(file) == SAID
    shown = CliRunner().invoke(app, ["eval", "prmbench", "--predictions", str(file)]).output
    assert (
        "all                         4       57.5       70.6       44.4       66.7       25.0"
        in (shown)
    )
    assert "multi_solutions             1       85.7       85.7          -          -" in shown
    assert "simplicity 57.6   soundness -   sensitivity -" in shown
    assert "1 of 7 items have no verdict." in shown


def test_a_fitted_model_is_evaluated(fitted, tmp_path: Path) -> None:  # noqa: F811
    rows = [ROW, {**ROW, "idx": "p_8", "error_steps": [1]}, OURS]
    file, out = write(tmp_path / "bench.jsonl", rows), tmp_path / "said.jsonl"
    run = ["eval", "prmbench", "--model", str(fitted), "--data", str(file), "--out", str(out)]
    results = CliRunner().invoke(app, [*run, "--json"])
    result = json.loads(results.stdout)
    assert "note: 1 solutions name a wrong step that they do not have" in results.stderr
    assert (result["count"], result["without_verdict"]) == (5, 0)
    assert result["classes"]["correct"]["items"] == 2 and result["total"]["items"] == 3
    again = CliRunner().invoke(app, ["eval", "prmbench", "--json", "--predictions", str(out)])
    scored = json.loads(again.output)
    assert scored["total"] == result["total"] and scored["classes"] == result["classes"]
    # above all values every step is taken for wrong: all wrong steps found, no right one
    strict = json.loads(CliRunner().invoke(app, [*run, "--json", "--threshold", "2"]).stdout)
    assert (strict["total"]["wrong_step_acc"], strict["total"]["correct_step_acc"]) == (100.0, 0.0)
    assert strict["total"]["f1"] == 0.0 and strict["total"]["similarity"] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "eval prmbench: give --predictions FILE, or --model DIR"),
        (["--predictions", "a", "--model", "b"], "eval prmbench: --model has no use beside"),
        (["--judge", "a", "--model", "b", "--data", "c"], "--model has no use beside --judge"),
        (["--model", "a", "--set", "votes=3"], "--set has no use beside --model"),
        (["--model", "a"], "eval prmbench: name the items"),
    ],
)
def test_options_that_do_not_fit(options: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["eval", "prmbench", *options])
    assert isinstance(result.exception, DataError)
    assert message in str(result.exception)
