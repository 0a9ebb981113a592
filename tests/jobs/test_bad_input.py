"""Bad input: one line on stderr with a remedy, exit code 2, and a run folder that goes on."""

import errno
import json
import shutil
import sys
from pathlib import Path

import pytest

from hornbeam.cli.main import main
from hornbeam.store import checkpoints
from hornbeam.store.database import Store
from told import without_code

RECIPE = """
[run]
steps = 2
tasks = 2
eval_every = 0
eval_start = false
checkpoint_every = 1
[model]
name = "tiny"
[agents.seeker]
max_tokens = 4
[program]
name = "lookup"
[tools.lookup]
[[tasks.train]]
source = "lookup"
split = "train"
count = 20
[reward]
rule = "exact"
[grow]
strategy = "independent"
n = 2
[credit]
method = "grpo"
"""


@pytest.fixture
def hornbeam(tmp_path, monkeypatch, capsys):
    """Runs `hornbeam train` on a short recipe; (exit code, lines on stderr, stdout)."""
    recipe = tmp_path / "short.toml"
    recipe.write_text(RECIPE)

    def run(*sets, out="run"):
        given = [part for one in sets for part in ("--set", one)]
        argv = ["hornbeam", "train", str(recipe), "--out", str(tmp_path / out), *given]
        monkeypatch.setattr(sys, "argv", argv)
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        printed = capsys.readouterr()
        return code, without_code(printed.err).strip().splitlines(), printed.out

    run.folder = tmp_path
    run.recipe = recipe
    return run


def refused(result, *words):
    code, lines, _ = result
    print(lines)
    assert code == 2 and len(lines) == 1, result
    assert lines[0].startswith("hornbeam: ")
    assert all(word in lines[0] for word in words), lines[0]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("run.stepps=3", ["[run]", "stepps", "'steps'"]),
        ("grow.nn=3", ["nn", "'n'"]),
        ("run.steps=many", ["[run] steps", "whole number"]),
        ("optim.lr=[1]", ["[optim] lr", "number"]),
        ("credit.method=gprpo", ["gprpo", "'grpo'"]),
        ("model.name=no/such-model", ["no/such-model"]),
        ("program.name=gone.py:run", ["gone.py"]),
    ],
)
def test_a_recipe_that_cannot_be(hornbeam, wrong, words):
    refused(hornbeam(wrong), *words)
    code, lines, _ = hornbeam("run.steps=1")
    assert code == 0, lines


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["rows.jsonl", "empty"]),
        ('{"question": "a", "answer": "b"}\n{"question": \n', ["rows.jsonl", "line 2"]),
        ('{"question": "a", "answer": "b"}\n\n[1]\n', ["rows.jsonl", "line 3"]),
        ('{"answer": "b"}\n', ["rows.jsonl", "line 1", "question"]),
        (None, ["rows.jsonl"]),
    ],
)
def test_task_files_that_cannot_be(hornbeam, text, words):
    rows = hornbeam.folder / "rows.jsonl"
    if text is not None:
        rows.write_text(text)
    plain = hornbeam.recipe.read_text()
    lookup = 'source = "lookup"\nsplit = "train"\ncount = 20'
    assert lookup in plain
    file = f'source = "jsonl"\npath = "{rows}"'
    hornbeam.recipe.write_text(plain.replace(lookup, file))
    refused(hornbeam(), *words)
    hornbeam.recipe.write_text(plain)
    code, lines, _ = hornbeam("run.steps=1")
    assert code == 0, lines


def test_a_run_does_not_go_on_with_other_tasks(hornbeam):
    """The recipe is the same, what it finds is not: another data directory, say."""
    rows = hornbeam.folder / "rows.jsonl"
    rows.write_text('{"question": "start : coin", "answer": "start : coin"}\n')
    plain = hornbeam.recipe.read_text()
    lookup = 'source = "lookup"\nsplit = "train"\ncount = 20'
    hornbeam.recipe.write_text(plain.replace(lookup, f'source = "jsonl"\npath = "{rows}"'))
    code, lines, _ = hornbeam("run.steps=1")
    assert code == 0, lines
    rows.write_text('{"question": "start : ring", "answer": "start : ring"}\n')
    refused(hornbeam("run.steps=2"), "other training tasks", "HORNBEAM_DATA")
    rows.write_text('{"question": "start : coin", "answer": "start : coin"}\n')
    code, lines, _ = hornbeam("run.steps=2")
    assert code == 0, lines


def test_a_run_goes_on_under_a_version_that_knows_more_keys(hornbeam):
    """What an older version kept of the recipe lacks keys; they had the defaults they have now."""
    assert hornbeam("run.steps=1")[0] == 0
    with Store(hornbeam.folder / "run") as store:
        result = store.get("recipe")
        del result["agents"]["seeker"]["policy"], result["sft"], result["loss"]["clip_high"]
        store.set("recipe", result)
    code, lines, _ = hornbeam("run.steps=2")
    assert code == 0, lines
    refused(hornbeam("run.steps=2", "loss.clip_high=0.3"), "another recipe", "loss.clip_high")


def test_a_program_file_that_does_not_import(hornbeam):
    agent = hornbeam.folder / "agent.py"
    agent.write_text("import no_such_module\nasync def walk(task, ep): ...\n")
    refused(hornbeam("program.name=agent.py:walk"), "agent.py", "no_such_module")
    agent.write_text("async def walk(task, ep:\n")
    refused(hornbeam("program.name=agent.py:walk"), "agent.py", "line 1")
    agent.write_text("def walk(task, ep):\n    return 1\n")
    refused(hornbeam("program.name=agent.py:walk"), "async def")


@pytest.fixture
def model(tmp_path):
    """The folder of a tiny model."""
    from hornbeam.models import tiny_model

    folder = tmp_path / "given"
    tiny_model.make(folder, 0)
    return folder


def test_a_model_without_a_chat_template(hornbeam, model):
    for path in model.glob("chat_template*"):
        path.unlink()
    config = model / "tokenizer_config.json"
    data = json.loads(config.read_text())
    data.pop("chat_template", None)
    config.write_text(json.dumps(data))
    refused(hornbeam(f"model.name={model}"), "chat template")


def test_a_tokenizer_that_does_not_fit_the_model(hornbeam, model):
    path = model / "tokenizer.json"
    data = json.loads(path.read_text())
    vocabulary = data["model"]["vocab"]
    vocabulary.extend([f"extra{i}", -1.0] for i in range(500))
    path.write_text(json.dumps(data))
    refused(hornbeam(f"model.name={model}"), "tokenizer")


def test_a_model_folder_that_holds_none(hornbeam, model):
    shutil.rmtree(model)
    refused(hornbeam(f"model.name={model}"), str(model))
    model.mkdir()
    refused(hornbeam(f"model.name={model}"), str(model))


def test_a_run_killed_while_its_model_is_made_makes_it_again(hornbeam, monkeypatch):
    from hornbeam.models import tiny_model

    real = tiny_model.make

    def half(folder, *given, **options):
        (real(folder, *given, **options) / "model.safetensors").unlink()
        raise SystemExit(9)

    monkeypatch.setattr(tiny_model, "make", half)
    assert hornbeam("run.steps=1")[0] == 9
    monkeypatch.setattr(tiny_model, "make", real)
    code, lines, _ = hornbeam("run.steps=1")
    assert code == 0, lines
    assert not (hornbeam.folder / "run" / ".model.part").exists()


def test_equal_rewards_for_a_whole_step_are_a_warning_with_the_count(hornbeam):
    code, lines, out = hornbeam("run.steps=1")
    assert code == 0
    assert "all 2 groups have equal rewards" in " ".join([*lines, out]).replace("\n", " ")


def test_a_full_disk_leaves_the_last_good_checkpoint(hornbeam, monkeypatch):
    real = checkpoints._seal
    full = OSError(errno.ENOSPC, "No space left on device")

    def seal(folder: Path, manifest):
        if manifest["step"] == 2:
            raise full
        real(folder, manifest)

    monkeypatch.setattr(checkpoints, "_seal", seal)
    refused(hornbeam(), "checkpoint of step 2", "No space left", "step 1")
    kept = hornbeam.folder / "run" / "checkpoints"
    assert [path.name for path in sorted(kept.iterdir())] == ["step-000001"]
    monkeypatch.setattr(checkpoints, "_seal", real)
    code, lines, _ = hornbeam()
    assert code == 0, lines
    rows = [
        json.loads(r) for r in (hornbeam.folder / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    assert [r["step"] for r in rows if r["kind"] == "train"] == [0, 1]
    assert (hornbeam.folder / "run" / "final" / "config.json").is_file()
