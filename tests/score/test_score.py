"""`hornbeam score`: columns on trees that were recorded elsewhere, of text alone."""

import asyncio
import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hornbeam.chat import TemplateChat
from hornbeam.chat.rendered import with_ids
from hornbeam.cli.main import app
from hornbeam.errors import DataError, HornbeamError, ModelError, RecipeError
from hornbeam.jobs.search.answer_pool import judge_tree
from hornbeam.models.tiny_model import tokenizer
from hornbeam.score.prm import ValueGuide
from hornbeam.train.value import ValueModel
from hornbeam.train.value_files import Card, fingerprint
from hornbeam.tree.jsonl import read_trees
from little_values import value_head

STEPS = [{"parent": -1}, {"parent": 0, "text": "3 + 4"}, {"parent": 1, "text": "7"}]
FOREIGN = [
    {"task": {"id": "a", "question": "3 + 4 ?", "answer": "7"}, "nodes": STEPS},
    {
        "task": {"id": "b", "question": "3 + 3 ?", "answer": ["6", "six"]},
        "nodes": [
            {"parent": -1, "messages": [{"role": "user", "content": "3 + 3 ?"}]},
            {"parent": 0, "text": "7", "finish": "stop", "done": True, "answer": "7"},
            {"parent": 0, "text": "so 6", "finish": "stop", "done": True, "answer": "so 6"},
            {"parent": 0, "error": "the server was gone", "done": True},
        ],
    },
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "foreign.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in FOREIGN))
    return path


@pytest.fixture(scope="module")
def fitted(tmp_path_factory) -> Path:
    """A value model with random weights and a tokenizer, as `hornbeam fit` writes it."""
    model, words = value_head(context=48), tokenizer()
    folder = tmp_path_factory.mktemp("value")
    ValueModel(model, words, card=Card("tiny", fingerprint(words))).save(folder / "none")
    card = Card("tiny", objective="regression", fingerprint=fingerprint(words))
    ValueModel(model, words, card=card).save(folder / "prm")
    return folder / "prm"


def score(*words: object):
    return CliRunner().invoke(app, ["score", *map(str, words)])


def columns(path: Path, name: str) -> list:
    return [tree.columns[name] for tree in read_trees(path)]


def refused(result) -> str:
    assert isinstance(result.exception, HornbeamError), result.output
    assert "\n" not in str(result.exception)
    return str(result.exception)


# --- rules ---------------------------------------------------------------------------------------


def test_a_rule_rewards_answers_by_the_gold_of_their_tasks(file, tmp_path):
    before, out = file.read_text(), tmp_path / "scored.jsonl"
    result = score(file, "--rule", "numeric", "--out", out)
    assert result.exit_code == 0, result.exception
    assert result.output.splitlines() == [
        "reward: 3 of 4 answers scored, mean 0.6667; 1 without one: the episode failed",
        f"Trees:   {out}",
    ]
    assert columns(out, "reward") == [[None, None, 1.0], [None, 0.0, 1.0, None]]
    assert file.read_text() == before
    for was, line in zip(FOREIGN, out.read_text().splitlines(), strict=True):
        now = json.loads(line)
        assert {key: now[key] for key in was} == was and set(now) == {*was, "columns"}


def test_the_answer_is_read_off_the_last_text_where_that_is_said(file, tmp_path):
    out = tmp_path / "scored.jsonl"
    assert score(file, "--rule", "exact", "--out", out).exit_code == 0
    assert columns(out, "reward")[1] == [None, 0.0, 0.0, None]  # "so 6" is not "6"
    assert score(file, "--rule", "exact", "--answer", "so (.)", "--out", out).exit_code == 0
    assert columns(out, "reward") == [[None, None, 0.0], [None, 0.0, 1.0, None]]
    settings = ("--set", "format=so", "--set", "format_penalty=0.5")
    assert score(file, "--rule", "numeric", *settings, "--out", out).exit_code == 0
    assert columns(out, "reward") == [[None, None, 0.5], [None, -0.5, 1.0, None]]


def test_trees_that_cannot_be_judged_are_counted_and_told(file, tmp_path):
    more = {**FOREIGN[0], "task": {"id": "c", "question": "?"}}
    file.write_text(file.read_text() + json.dumps(more) + "\n")
    out = tmp_path / "scored.jsonl"
    result = score(file, "--rule", "f1", "--out", out)
    assert result.exit_code == 0
    assert (
        "foreign.jsonl, line 3: " in result.stderr and "no answer to compare with" in result.stderr
    )
    assert result.stdout.splitlines()[0].endswith("; 1 tree refused")
    assert columns(out, "reward")[2] == [None] * 3
    alone = tmp_path / "alone.jsonl"
    alone.write_text(json.dumps(more) + "\n")
    said = refused(score(alone, "--rule", "f1", "--out", tmp_path / "none.jsonl"))
    assert said.startswith("none of 1 trees can be scored, the first: ")
    assert not (tmp_path / "none.jsonl").exists()


def test_a_column_that_is_there_is_written_over_only_where_that_is_said(file, tmp_path):
    assert score(file, "--rule", "numeric", "--in-place").exit_code == 0
    said = refused(score(file, "--rule", "exact", "--in-place"))
    assert "line 1: it has a column 'reward': --replace writes it anew" in said
    assert columns(file, "reward")[1] == [None, 0.0, 1.0, None]
    assert score(file, "--rule", "exact", "--in-place", "--replace").exit_code == 0
    assert columns(file, "reward")[1] == [None, 0.0, 0.0, None]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["foreign.jsonl"]


# --- a value model -------------------------------------------------------------------------------


def test_a_model_values_every_step_of_text_in_its_own_ids(file, fitted, tmp_path):
    out = tmp_path / "scored.jsonl"
    result = score(file, "--model", fitted, "--out", out)
    assert result.exit_code == 0, result.exception
    model = ValueModel.load(fitted)
    chat, wanted = TemplateChat(model.tokenizer), []

    async def values():
        guide = ValueGuide(model)
        for tree in read_trees(file):
            exact = with_ids(tree, chat)
            await judge_tree(guide, exact)
            wanted.append(exact.columns["value"])
        await guide.aclose()

    asyncio.run(values())
    found = columns(out, "value")
    assert [v is None for v in found[1]] == [True, False, False, True]
    assert [v for each in found for v in each if v is not None] == pytest.approx(
        [v for each in wanted for v in each if v is not None], abs=1e-6
    )
    line = result.stdout.splitlines()[0]
    assert line.startswith("value: 4 of 5 steps scored, mean ")
    assert "; 1 without one: the step failed;" in line
    assert "; ids of 2 trees by the model's chat template" in line
    assert not any(node.tokens for tree in read_trees(out) for node in tree.nodes)


def test_the_tokens_of_all_trees_are_told(file, fitted, tmp_path):
    def tokens(path):
        line = score(path, "--model", fitted, "--out", tmp_path / "s.jsonl").stdout
        return int(re.search(r"; ([\d,]+) tokens run", line)[1].replace(",", ""))

    alone = []
    for n, line in enumerate(file.read_text().splitlines()):
        (tmp_path / f"{n}.jsonl").write_text(line + "\n")
        alone.append(tokens(tmp_path / f"{n}.jsonl"))
    assert min(alone) > 0 and tokens(file) == sum(alone)


def test_steps_beyond_the_models_context_have_no_value(file, fitted, tmp_path):
    nodes = [{"parent": -1}, {"parent": 0, "text": "1"}, {"parent": 1, "text": "3 + " * 60}]
    file.write_text(json.dumps({**FOREIGN[0], "nodes": nodes}) + "\n")
    result = score(file, "--model", fitted, "--out", tmp_path / "s.jsonl", "--column", "prm")
    assert "prm: 1 of 2 steps scored" in result.stdout
    assert "1 without one: longer than the model's 48 tokens" in result.stdout


def test_ids_are_read_as_they_are_unless_they_are_another_models(file, fitted, tmp_path):
    out, chat = tmp_path / "s.jsonl", TemplateChat(tokenizer())
    exact = [with_ids(tree, chat) for tree in read_trees(file)]
    from hornbeam.tree.jsonl import write_trees

    write_trees(exact, file)
    assert "by the model's chat template" not in score(file, "--model", fitted, "--out", out).stdout
    own = columns(out, "value")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for line in lines:
        for node in line["nodes"]:
            node["tokens"] = [1] * len(node.get("tokens", []))
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert "its ids are another model's" in refused(score(file, "--model", fitted, "--out", out))
    assert score(file, "--model", fitted, "--out", out, "--text").exit_code == 0
    assert columns(out, "value")[1] == pytest.approx(own[1], abs=1e-6)


# --- words that do not fit -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        (["--out", "OUT"], DataError, "say by what: --rule NAME, --model DIR or --judge NAME"),
        (["--rule", "numeric"], DataError, "say --out FILE, or --in-place"),
        (["--rule", "numeric", "--in-place", "--out", "OUT"], DataError, "say --out FILE, or"),
        (["--rule", "numerc", "--out", "OUT"], RecipeError, "did you mean 'numeric'?"),
        (["--rule", "numeric", "--out", "TREES"], DataError, "is what is read: --in-place"),
        (["--rule", "numeric", "--out", "no/OUT"], DataError, "there is no folder no"),
        (["--rule", "numeric", "--model", "PRM", "--out", "OUT"], DataError, "--model has no use"),
        (["--model", "PRM", "--answer", "number", "--out", "OUT"], DataError, "--answer has no"),
        (["--rule", "exact", "--set", "formt=x", "--out", "OUT"], RecipeError, "'format'"),
        (["--rule", "exact", "--column", "x", "--out", "OUT"], DataError, "a rule writes 'reward'"),
        (["--model", "gone", "--out", "OUT"], ModelError, "gone: no such model folder"),
        (["--model", "NONE", "--out", "OUT"], ModelError, "is no fitted value model"),
        (["--judge", "gone.toml", "--out", "OUT"], RecipeError, "gone.toml: no such file"),
        (["--judge", "single", "--out", "OUT"], HornbeamError, "single"),
        (["--judge", "tiny", "--out", "OUT"], RecipeError, 'no table [guides.NAME] of kind = "ju'),
        (["--judge", "PRM", "--set", "vots=3", "--out", "OUT"], RecipeError, "'votes'"),
    ],
)
def test_words_that_do_not_fit_are_one_line(file, fitted, tmp_path, words, kind, message):
    names = {"OUT": tmp_path / "s.jsonl", "TREES": file, "PRM": fitted}
    names["NONE"] = fitted.parent / "none"
    done = score(file, *(names.get(word, word) for word in words))
    assert isinstance(done.exception, kind) and message in refused(done)
    assert [path.name for path in tmp_path.iterdir()] == ["foreign.jsonl"]


def test_a_file_that_holds_no_trees(tmp_path, file):
    assert "no such file" in refused(score(tmp_path / "x.jsonl", "--rule", "f1", "--in-place"))
    file.write_text('{"task": {"id": "a"}, "nodes": [{"parent": -1}]}\n{"messages": []}\n')
    assert "line 2: 'task' must be" in refused(score(file, "--rule", "f1", "--in-place"))
