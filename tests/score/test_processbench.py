"""ProcessBench: the official figures, bad lines, trees of steps, and thresholds."""

import asyncio
import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from hornbeam.chat import ByteChat, TemplateChat, user
from hornbeam.cli.main import app
from hornbeam.engine.request import Barrier
from hornbeam.errors import DataError
from hornbeam.models.tiny_model import tokenizer
from hornbeam.protocols import Opinions
from hornbeam.score.prm import ValueGuide
from hornbeam.score.processbench import (
    BenchSolution,
    Prediction,
    best_threshold,
    by_final_answer,
    by_split,
    figures,
    judge_all,
    mean_f1,
    predict,
    read_predictions,
    read_solutions,
    step_tree,
    step_values,
)
from hornbeam.train.value import ValueModel
from hornbeam.train.value_files import Card, fingerprint
from little_values import value_head

LINES = [  # (label, prediction, final answer right)
    (2, 2, False),
    (0, 1, False),
    (4, None, False),
    (3, 3, True),  # a wrong step, yet the right answer
    (-1, -1, True),
    (-1, 0, True),
    (-1, None, True),
]


def write(path: Path, lines: list[dict]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def records(split: str = "gsm8k") -> list[dict]:
    return [
        {"id": f"{split}-{n}", "split": split, "label": label, "prediction": said,
         "final_answer_correct": right}
        for n, (label, said, right) in enumerate(LINES)
    ]  # fmt: skip


def test_figures_by_hand(tmp_path: Path) -> None:
    items = read_predictions(write(tmp_path / "p.jsonl", records()))
    found = figures(items)
    assert (found.errors, found.corrects) == (4, 3)
    assert found.error_accuracy == 50.0  # 2 of 4
    assert found.correct_accuracy == pytest.approx(100 / 3)  # 1 of 3
    assert found.f1 == pytest.approx(40.0)  # 2 * 50 * 33.3 / 83.3
    other = figures(items, by_final_answer)  # the fourth has changed sides
    assert (other.errors, other.corrects) == (3, 4)
    assert (other.error_accuracy, other.correct_accuracy) == (pytest.approx(100 / 3), 50.0)


@given(st.lists(st.tuples(st.integers(-1, 3), st.none() | st.integers(-1, 3)), min_size=1))
def test_the_figures_are_those_of_the_official_script(pairs: list[tuple]) -> None:
    """Its definition anew: np.mean of matches * 100 by label, then the harmonic mean."""
    items = [Prediction(str(n), "math", label, said) for n, (label, said) in enumerate(pairs)]
    found = figures(items)
    wrong = [said == label for label, said in pairs if label != -1]
    right = [said == label for label, said in pairs if label == -1]
    assert found.error_accuracy == (np.mean(wrong) * 100 if wrong else None)
    assert found.correct_accuracy == (np.mean(right) * 100 if right else None)
    if wrong and right and (any(wrong) or any(right)):
        a, b = np.mean(wrong) * 100, np.mean(right) * 100
        assert found.f1 == 2 * a * b / (a + b)


def test_a_group_without_items_has_no_figure() -> None:
    found = figures([Prediction("a", "math", -1, -1)])
    assert (found.error_accuracy, found.correct_accuracy, found.f1) == (None, 100.0, None)
    nothing = figures([Prediction("a", "math", -1, 2), Prediction("b", "math", 1, -1)])
    assert nothing.f1 == 0.0
    assert mean_f1({"math": nothing, "gsm8k": found}) is None


def test_the_mean_is_over_splits_not_items() -> None:
    one = [Prediction("a", "omnimath", 1, 1), Prediction("b", "omnimath", -1, -1)]
    many = [Prediction(str(n), "gsm8k", n % 2 - 1, 5) for n in range(10)]
    splits = by_split([*one, *many])
    assert list(splits) == ["gsm8k", "omnimath"]  # the benchmark's order
    assert mean_f1(splits) == 50.0


def test_the_command(tmp_path: Path) -> None:
    file = write(tmp_path / "p.jsonl", records() + records("math")[3:5])
    shown = CliRunner().invoke(app, ["eval", "processbench", "--predictions", str(file)])
    assert shown.exit_code == 0
    assert "gsm8k                 7       50.0         33.3   40.0" in shown.output
    assert "math                  2      100.0        100.0  100.0" in shown.output
    assert shown.output.count("70.0") == 1  # the mean, official; (40 + 100) / 2
    text = CliRunner().invoke(app, ["eval", "processbench", "--json", "--predictions", str(file)])
    result = json.loads(text.output)
    assert result["count"] == 9
    assert result["official"]["mean_f1"] == pytest.approx(70.0)
    assert result["official"]["splits"]["gsm8k"]["error_accuracy"] == 50.0
    # all items of "math" are right, none has a wrong final answer: that group has no figure
    assert result["by_final_answer"]["splits"]["math"]["f1"] is None


def test_without_final_answers_one_grouping_is_told(tmp_path: Path) -> None:
    lines = [{k: v for k, v in r.items() if k != "final_answer_correct"} for r in records()]
    file = write(tmp_path / "p.jsonl", lines)
    text = CliRunner().invoke(app, ["eval", "processbench", "--predictions", str(file), "--json"])
    assert set(json.loads(text.output)) == {"count", "without_verdict", "official"}


def test_a_recipe_is_still_evaluated() -> None:
    result = CliRunner().invoke(app, ["eval", "processbenhc"])
    assert "processbenhc" in str(result.exception)
    assert "RECIPE" in CliRunner().invoke(app, ["eval", "--help"]).output


GOOD = {"id": "a", "split": "math", "label": 1, "prediction": 0}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "a"', "line 2: not JSON"),
        ("[1]", "line 2: a JSON object is expected"),
        (json.dumps({"id": "b", "split": "math", "label": 1}), "no 'prediction'; it has id, split"),
        (json.dumps(GOOD | {"id": "b", "prediction": "1"}), "'prediction' must be a step from 0"),
        (json.dumps(GOOD | {"id": "b", "prediction": True}), "it is True"),
        (json.dumps(GOOD | {"id": "b", "prediction": -2}), "it is -2"),
        (json.dumps(GOOD | {"id": "b", "prediction": 1.0}), "it is 1.0"),
        (json.dumps(GOOD | {"id": "b", "label": None}), "'label' must be a step from 0"),
        (json.dumps(GOOD | {"id": "b", "split": ["math"]}), "'split' must be a text"),
        (json.dumps(GOOD | {"id": "b", "final_answer_correct": 1}), "must be true or false"),
        (json.dumps(GOOD), "math a was predicted in line 1 already"),
    ],
)
def test_malformed_predictions_name_file_and_line(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text(json.dumps(GOOD) + "\n" + line + "\n")
    with pytest.raises(DataError) as result:
        read_predictions(file)
    assert str(result.value).startswith(f"{file}, line 2: ")
    assert message in str(result.value)
    assert "\n" not in str(result.value)


def test_a_missing_and_an_empty_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_predictions(tmp_path / "none.jsonl")
    with pytest.raises(DataError, match="the file is empty"):
        read_predictions(write(tmp_path / "p.jsonl", []))


def test_solutions_are_read(tmp_path: Path) -> None:
    row = {"id": "gsm8k-1", "problem": "2+2?", "steps": ["2", "4"], "label": 1, "generator": "x"}
    file = write(tmp_path / "gsm8k.jsonl", [row | {"final_answer_correct": False}])
    assert read_solutions(file) == [BenchSolution("gsm8k-1", "gsm8k", "2+2?", ("2", "4"), 1, False)]
    with pytest.raises(DataError, match="line 1: 'label' is 2, and there are 2 steps"):
        read_solutions(write(file, [row | {"label": 2}]))
    with pytest.raises(DataError, match="'steps' must be a list of texts"):
        read_solutions(write(file, [row | {"steps": "2"}]))


class Lengths:
    """A guide that values a step by how many tokens its sequence has, from 1 downwards."""

    column = "value"

    def __init__(self) -> None:
        self.barrier = Barrier()
        self.forgotten: list[str] = []

    def most(self, tree, nodes) -> int:
        return sum(tree.length(i) for i in nodes)

    async def judge(self, tree, nodes) -> Opinions:
        return Opinions([1 - tree.length(i) / 100 for i in nodes], self.most(tree, nodes))

    def forget(self, tree) -> None:
        self.forgotten.append(tree.task["id"])

    async def aclose(self) -> None:
        pass


def test_a_tree_of_steps_holds_the_conversation() -> None:
    chat = ByteChat()
    item = BenchSolution("m-1", "math", "2+2?", ("Two.", "Four."), -1)
    tree = step_tree(item, chat)
    whole = chat.render([user("2+2?")])
    assert tree.sequence(1) == whole + chat.encode("Two.\n\n")
    assert tree.sequence(2) == whole + chat.encode("Two.\n\nFour.\0")
    assert [node.finish for node in tree.nodes[1:]] == ["chunk", "stop"]
    guide = Lengths()
    values = asyncio.run(step_values(guide, tree))
    assert values == [1 - tree.length(1) / 100, 1 - tree.length(2) / 100]
    assert guide.forgotten == ["m-1"]
    assert predict(values, values[0]) == 1


def test_the_predict_a_threshold() -> None:
    assert predict([0.9, None, 0.2, 0.1], 0.5) == 2
    assert predict([0.9, 0.5], 0.5) == -1
    assert predict([], 0.5) == -1


def test_the_best_threshold_by_hand() -> None:
    values = [[0.9, 0.2], [0.8, 0.7], [0.6, 0.1]]
    assert best_threshold(values, [1, -1, 1]) == pytest.approx(0.4)  # between 0.2 and 0.6
    assert best_threshold(values, [0, -1, 1]) == pytest.approx(0.15)  # the first is never right
    with pytest.raises(DataError, match="items with an error and items without"):
        best_threshold(values, [1, 1, 1])
    with pytest.raises(DataError, match="NaN"):
        best_threshold([[0.1], [float("nan")]], [0, -1])
    with pytest.raises(DataError, match="no step has a value"):
        best_threshold([[None], [None]], [0, -1])


@pytest.mark.parametrize("seed", range(30))
def test_no_threshold_is_better_than_the_best(seed: int) -> None:
    rng = random.Random(seed)
    values, labels = [], []
    for _ in range(12):
        steps = rng.randint(1, 5)
        values.append([rng.choice([None, *[v / 10 for v in range(-9, 10)]]) for _ in range(steps)])
        labels.append(rng.randrange(-1, steps))
    labels[0], labels[1] = -1, 0

    def f1(threshold: float) -> float:
        items = [
            Prediction(str(n), "math", label, predict(each, threshold))
            for n, (each, label) in enumerate(zip(values, labels))
        ]
        return figures(items).f1 or 0.0

    best = f1(best_threshold(values, labels))
    assert best == pytest.approx(max(f1(t / 20) for t in range(-21, 22)))


def test_items_are_judged_in_order() -> None:
    chat, guide = ByteChat(), Lengths()
    items = [BenchSolution(f"m-{n}", "math", "?" * n, ("a",) * (1 + n % 3), -1) for n in range(40)]
    values = asyncio.run(judge_all(guide, chat, items, at_once=7))
    assert values == [
        [1 - step_tree(item, chat).length(i) / 100 for i in range(1, 1 + len(item.steps))]
        for item in items
    ]
    assert sorted(guide.forgotten) == sorted(item.id for item in items)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory) -> Path:
    """A value model with random weights and a tokenizer, as `hornbeam fit` writes it."""
    model, words = value_head(context=64), tokenizer()
    card = Card("tiny", objective="regression", fingerprint=fingerprint(words))
    folder = tmp_path_factory.mktemp("value")
    ValueModel(model, words, card=card).save(folder)
    return folder


def test_a_fitted_model_is_evaluated(fitted: Path, tmp_path: Path) -> None:
    rows = [
        {"id": str(n), "problem": "3 + 4 ?", "steps": [f"{n} + 4", "7"], "label": n % 3 - 1,
         "final_answer_correct": n % 3 == 0}
        for n in range(9)
    ]  # fmt: skip
    rows.append(rows[0] | {"id": "long", "steps": ["1 " * 70]})
    file, out = write(tmp_path / "math.jsonl", rows), tmp_path / "said.jsonl"
    run = ["eval", "processbench", "--model", str(fitted), "--data", str(file), "--json"]
    result = json.loads(CliRunner().invoke(app, [*run, "--tune", "math", "--out", str(out)]).output)
    assert (result["count"], result["without_verdict"]) == (10, 1)
    values = asyncio.run(_values(fitted, file))
    labels = [row["label"] for row in rows]
    assert result["threshold"] == pytest.approx(best_threshold(values, labels))
    said = read_predictions(out)
    assert said[-1].prediction is None
    wanted = [predict(each, result["threshold"]) for each in values[:-1]]
    assert [item.prediction for item in said[:-1]] == wanted
    again = ["eval", "processbench", "--json", "--predictions", str(out)]
    scored = json.loads(CliRunner().invoke(app, again).output)
    assert scored["official"] == result["official"]
    assert scored["by_final_answer"] == result["by_final_answer"]


def test_count_draws_items_by_a_seed(fitted: Path, tmp_path: Path) -> None:
    rows = [{"id": str(n), "problem": "3 + 4 ?", "steps": ["7"], "label": -1} for n in range(12)]
    file, said = write(tmp_path / "math.jsonl", rows), tmp_path / "said.jsonl"

    def ids(*options: str) -> list[str]:
        run = ["eval", "processbench", "--model", str(fitted), "--data", str(file), "--json"]
        text = CliRunner().invoke(app, [*run, "--out", str(said), *options])
        assert text.exit_code == 0, text.output
        return [item.id for item in read_predictions(said)]

    found = [ids("--count", "3", "--seed", str(seed)) for seed in range(8)]
    assert all(len(each) == 3 and each == sorted(each, key=int) for each in found)
    assert len(set(map(tuple, found))) > 1 and max(int(i) for each in found for i in each) > 2
    assert found[0] == ids("--count", "3") and len(ids("--count", "30")) == 12


async def _values(folder: Path, file: Path) -> list:
    model = ValueModel.load(folder)
    return await judge_all(ValueGuide(model), TemplateChat(tokenizer()), read_solutions(file))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give --predictions FILE, or --model DIR"),
        (["--predictions", "a", "--model", "b"], "--model has no use beside --predictions"),
        (["--predictions", "a", "--threshold", "0"], "--threshold has no use"),
        (["--model", "{model}"], "name the items"),
        (["--model", "{model}", "--data", "{file}", "--seed", "1"], "--seed draws the items of"),
        (["--predictions", "a", "--seed", "1"], "--seed has no use beside --predictions"),
        (["--model", "{model}", "--data", "{file}", "--tune", "mth"], "did you mean 'math'?"),
        (
            ["--model", "{model}", "--data", "{file}", "--tune", "math", "--threshold", "0.5"],
            "--threshold has no use beside --tune",
        ),
    ],
)
def test_options_that_do_not_fit(
    fitted: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    file = write(tmp_path / "math.jsonl", [{"id": "1", "problem": "?", "steps": ["a"], "label": 0}])
    given = [option.format(model=fitted, file=file) for option in options]
    result = CliRunner().invoke(app, ["eval", "processbench", *given])
    assert isinstance(result.exception, DataError)
    assert message in str(result.exception)
