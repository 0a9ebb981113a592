"""A judge from labelled trees to its uses: trained by the loop, then a guide and a benchmark."""

import asyncio
import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from hornbeam.assembly.judges import content, judge_settings, trained
from hornbeam.assembly.plan import plan
from hornbeam.cli.main import app
from hornbeam.errors import DataError, RecipeError
from hornbeam.jobs.train.training import Run
from hornbeam.jobs.train.tree_metrics import measure
from hornbeam.recipe.recipe import load_recipe
from hornbeam.score.rules import RewardSettings, RuleScorer
from hornbeam.tasks.lookup_world import lookup_tasks
from hornbeam.tree.jsonl import read_trees, write_trees
from hornbeam.tree.nodes import Node, Origin, Tree, ids

from .doors import BEAM, Silent, recipe_of, search, stored, walks

RECIPE = """
[run]
steps = 1
tasks = 4
eval_start = false
[model]
name = "tiny"
options = {width = 32}
[agents.verdicts]
max_tokens = 6
[program]
name = "judge"
agent = "verdicts"
preset = "tiny"
[[tasks.train]]
source = "judge"
path = "LABELS"
[[tasks.eval]]
source = "judge"
path = "LABELS"
split = "test"
[reward]
rule = "exact"
[grow]
n = 4
[sft]
epochs = 6
batch_size = 32
lr = 8e-3
"""


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    """(folder of the trained judge's weights, rows of metrics)."""
    folder = tmp_path_factory.mktemp("judge")
    tasks = lookup_tasks("train", 120, depth=3, signs=6)
    write_trees(walks(tasks), folder / "labels.jsonl")
    path = folder / "judge.toml"
    path.write_text(RECIPE.replace("LABELS", str(folder / "labels.jsonl")))
    recipe = load_recipe(path)
    asyncio.run(Run(recipe, plan(recipe, folder), folder / "run", Silent()).go())
    lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    return folder / "run" / "final", list(map(json.loads, lines))


def test_a_judge_is_trained_by_the_ordinary_loop(judge) -> None:
    _, rows = judge
    (warm, last) = [row for row in rows if row["kind"] == "eval"]
    assert warm["stage"] == "warm start" and warm["no_verdict"] == warm["failed"] == 0
    assert last["count"] >= 20 and last["accuracy"] > 0.4  # half of the verdicts are Positive
    (step,) = [row for row in rows if row["kind"] == "train"]
    assert 0 <= step["unanswered"] < step["leaves"] == 16


def test_an_unreadable_verdict_counts_as_wrong_and_is_told() -> None:
    """Four runs of a judge by hand: right, wrong, unreadable, failed."""
    tree = Tree({"id": "a/1", "question": "?", "answer": "Positive"})
    one = ids([1])
    for n, answer in enumerate(["Positive", "Negative", None, None]):
        error = "it fell" * (n == 3)
        tree.append(
            Node(0, "judge", tokens=one, origin=Origin(n), done=True, answer=answer, error=error)
        )
    scorer = RuleScorer(RewardSettings(rule="exact"))
    tree.columns["reward"] = [None, *asyncio.run(scorer.score(tree, [1, 2, 3, 4]))]
    assert tree.columns["reward"] == [None, 1.0, 0.0, 0.0, None]
    row = {"accuracy": 0.25, "count": 4, "failed": 1, "no_verdict": 0, "unanswered": 1}
    row["cut_off"] = 0.0
    wilson = [0.04558726, 0.69935818]  # by hand, of 1 of 4
    assert measure([tree]) == {**row, "interval": pytest.approx(wilson, abs=1e-7)}
    tree.columns["reward"][1] = 0.8  # no share of right ones any more
    found = measure([tree])
    low, high = found.pop("interval")
    assert found == {**row, "accuracy": 0.2, "figure": "mean reward"} and low <= 0.2 <= high


def test_what_it_was_trained_with_is_what_it_is_asked_with(judge, tmp_path) -> None:
    final, _ = judge
    assert trained(final) == {"preset": "tiny", "max_tokens": 6}
    settings = judge_settings({"cot": False}, final)
    assert (settings.mark, settings.max_tokens, settings.cot) == ("{}", 6, False)
    assert trained(tmp_path) == {}
    with pytest.raises(RecipeError, match="no setting 'vote': did you mean 'votes'"):
        judge_settings({"vote": 3})


def test_a_judge_guides_a_search_and_is_paid(judge, world, tmp_path) -> None:
    guides = {"verdict": {"kind": "judge", "model": str(judge[0]), "soft": True}}
    result = search(world, tmp_path, {**BEAM, "column": "verdict"}, guides=guides)
    trees, entries = stored(tmp_path, "beam")
    values = [v for tree in trees for v in tree.columns["verdict"][1:] if v is not None]
    assert values and all(-1 <= v <= 1 for v in values)
    assert len({round(v, 6) for v in values}) > 3
    paid = [sum(e.amount for e in each if e.kind == "scorer_tokens") for each in entries]
    assert all(paid) and len(result["methods"]) == 1
    again = search(world, tmp_path, {**BEAM, "column": "verdict"}, guides=guides)
    assert again["methods"] == result["methods"]


@pytest.mark.parametrize(
    ("guide", "message"),
    [
        ({"kind": "judge"}, "guides.verdict: model: the folder of a judge"),
        ({"kind": "judge", "model": "x", "vots": 2}, "'vots': did you mean 'votes'"),
        ({"kind": "judge", "model": "x", "votes": 3, "temperature": 0}, "greedy verdicts"),
        ({"kind": "judge", "model": "x", "prompt": "{chnk}"}, "{chnk}: did you mean 'chunk'"),
    ],
)
def test_guides_that_cannot_be(world, tmp_path, guide, message) -> None:
    from hornbeam.assembly.guides import Guides

    with pytest.raises(RecipeError) as result:
        Guides(recipe_of(world, guides={"verdict": guide}), ["verdict"], None)
    assert message in str(result.value) and "\n" not in str(result.value)


def test_a_judge_scores_trees_of_text_by_its_folder_or_a_recipe(judge, tmp_path) -> None:
    file, out = tmp_path / "foreign.jsonl", tmp_path / "judged.jsonl"
    bare = []
    for tree in walks(lookup_tasks("test", 9, depth=3, signs=6)):
        nodes = [replace(node, tokens=ids(), prompt=ids()) for node in tree.nodes]
        bare.append(Tree(tree.task, nodes))
    write_trees(bare, file)
    words = ["score", str(file), "--judge", str(judge[0]), "--set", "soft=true"]
    text = CliRunner().invoke(app, [*words, "--out", str(out)])
    assert text.exit_code == 0, text.exception
    judged = [v for tree in read_trees(out) for v in tree.columns["judge"][1:]]
    assert all(v is None or -1 <= v <= 1 for v in judged) and len(set(judged)) > 3
    count = sum(v is not None for v in judged)
    assert f"judge: {count} of {len(judged)} steps scored, mean " in text.stdout
    assert "tokens run" in text.stdout
    recipe = tmp_path / "own.toml"
    recipe.write_text(f'[guides.verdict]\nkind = "judge"\nmodel = "{judge[0]}"\n')
    words = ["score", str(file), "--judge", str(recipe), "--in-place", "--set", "votes=2"]
    assert CliRunner().invoke(app, words).exit_code == 0
    voted = [v for tree in read_trees(file) for v in tree.columns["verdict"][1:]]
    assert {-1.0, -0.5, 0.0, 0.5, 1.0} >= {v for v in voted if v is not None}
    recipe.write_text(recipe.read_text() + recipe.read_text().replace("verdict", "other"))
    text = CliRunner().invoke(app, ["score", str(file), "--judge", str(recipe), "--in-place"])
    assert "it has verdict, other: say which by --column" in str(text.exception)


@pytest.fixture
def items(tmp_path):
    """A file of solutions whose first wrong step is known."""
    rows = []
    for number, tree in enumerate(walks(lookup_tasks("test", 9, depth=3, signs=6))):
        labels = tree.columns["label"]
        steps = [f"{node.text}\n{node.calls[0].result}" for node in tree.nodes[1:]]
        wrong = labels.index(-1) - 1 if -1 in labels else -1
        rows.append({"id": str(number), "problem": tree.task["question"], "steps": steps,
                     "label": wrong, "final_answer_correct": wrong < 0})  # fmt: skip
    path = tmp_path / "doors.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_processbench_with_a_judge_goes_on_where_it_was_stopped(judge, items, tmp_path) -> None:
    out = tmp_path / "said" / "predictions.jsonl"
    given = ["eval", "processbench", "--judge", str(judge[0]), "--data", str(items)]
    command = [*given, "--out", str(out), "--json"]

    def run(*more):
        result = CliRunner().invoke(app, [*command, *more])
        assert result.exit_code == 0, result.exception
        return json.loads(result.stdout)

    some = run("--count", "3")
    first = out.read_text()
    assert some["count"] == 3 == len(first.splitlines())
    out.write_text(first + '{"id": "3", "spl')  # a crash in the middle of a line
    result = run()
    assert out.read_text().startswith(first) and len(out.read_text().splitlines()) == 9
    assert result["count"] == 9 and result["judge_tokens"] > some["judge_tokens"] > 0
    assert {"official", "by_final_answer"} <= set(result)
    lines = list(map(json.loads, out.read_text().splitlines()))
    assert result["judge_tokens"] == sum(line["judge_tokens"] for line in lines)
    held = out.read_text()
    assert run() == result and out.read_text() == held  # nothing is judged twice
    fresh = tmp_path / "fresh.jsonl"
    assert run("--out", str(fresh))["official"] == result["official"]
    again = ["eval", "processbench", "--json", "--predictions", str(out)]
    scored = json.loads(CliRunner().invoke(app, again).stdout)
    assert scored["official"] == result["official"]
    results = CliRunner().invoke(app, [*command, "--set", "votes=3"])
    assert isinstance(results.exception, DataError)
    assert "line 1: the prediction of another judge" in str(results.exception)
    shown = CliRunner().invoke(app, command[:-1]).stdout
    assert f"Judge tokens: {result['judge_tokens']:,}" in shown


def test_prmbench_with_a_judge_judges_every_step_and_goes_on(judge, items, tmp_path) -> None:
    rows = [json.loads(line) for line in items.read_text().splitlines()]
    bench, out = tmp_path / "bench.jsonl", tmp_path / "said.jsonl"
    bench.write_text(
        "".join(
            json.dumps({
                "id": row["id"], "classification": "confidence", "question": row["problem"],
                "steps": row["steps"], "error_steps": [row["label"]] * (row["label"] >= 0),
            }) + "\n"
            for row in rows
        )
    )  # fmt: skip
    command = ["eval", "prmbench", "--judge", str(judge[0]), "--data", str(bench), "--json"]
    command += ["--out", str(out)]

    def run(*more):
        result = CliRunner().invoke(app, [*command, *more])
        assert result.exit_code == 0, result.exception
        return json.loads(result.stdout)

    some = run("--count", "3")
    first = out.read_text()
    assert some["count"] == 3 == len(first.splitlines())
    result = run()
    assert out.read_text().startswith(first) and result["count"] == len(rows)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert result["judge_tokens"] == sum(line["judge_tokens"] for line in lines)
    for row, line in zip(rows, sorted(lines, key=lambda line: int(line["id"]))):
        assert line["right"] is None or len(line["right"]) == len(row["steps"])
    # to the first wrong step it says what it says on ProcessBench
    judged = ["eval", "processbench", *command[2:6], "--out", str(tmp_path / "first.jsonl")]
    judged[5] = str(items)
    assert CliRunner().invoke(app, judged).exit_code == 0
    data = [json.loads(line) for line in (tmp_path / "first.jsonl").read_text().splitlines()]
    by_id = {line["id"]: line["right"] for line in lines}
    for line in data:
        right = by_id[line["id"]]
        if right is not None:
            assert line["prediction"] == (right.index(False) if False in right else -1)


def test_verdicts_that_cannot_be_read_are_no_predictions(judge, items, tmp_path) -> None:
    out = ["--out", str(tmp_path / "p.jsonl"), "--json"]
    given = ["eval", "processbench", "--judge", str(judge[0]), "--data", str(items), *out]
    data = json.loads(CliRunner().invoke(app, [*given, "--set", "max_tokens=1"]).stdout)
    assert data["without_verdict"] == data["count"] == 9
    assert data["official"]["splits"]["doors"]["error_accuracy"] == 0.0
    stop = [*given[:-2], str(tmp_path / "q.jsonl"), "--set", "max_tokens=1"]
    ended = CliRunner().invoke(app, [*stop, "--set", "stop_above=0.5", "--set", "at_least=4"])
    assert "of 4 verdicts cannot be read" in str(ended.exception)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--judge", "{judge}"], "name the items"),
        (["--judge", "{judge}", "--data", "x", "--tune", "y"], "--tune has no use beside --judge"),
        (["--judge", "{judge}", "--model", "x"], "--model has no use beside --judge"),
        (["--model", "x", "--set", "votes=3"], "--set has no use beside --model"),
        (["--judge", "{judge}", "--data", "{items}", "--set", "vote=3"], "did you mean 'votes'"),
    ],
)
def test_options_that_do_not_fit(judge, items, options, message) -> None:
    given = [option.format(judge=judge[0], items=items) for option in options]
    result = CliRunner().invoke(app, ["eval", "processbench", *given])
    assert message in str(result.exception)


def test_weights_in_several_files_are_told_apart(tmp_path):
    """A judge, a guide or a reference of several files was known by its path, or by nothing."""
    for name, last in (("a", b"x"), ("b", b"x"), ("c", b"y")):
        (tmp_path / name).mkdir()
        for number, data in enumerate((b"head", last), 1):
            path = tmp_path / name / f"model-{number:05}-of-00002.safetensors"
            path.write_bytes(data)
    one, same, other = (content(tmp_path / name) for name in "abc")
    assert one == same != other and one
    (tmp_path / "a" / "model.safetensors").write_bytes(b"whole")
    assert content(tmp_path / "a") not in (one, "")
    assert content(tmp_path) == ""
