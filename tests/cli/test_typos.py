"""A typo is told in one line before anything slow is imported (bench/typos.py has the seconds)."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from hornbeam.cli.main import app
from hornbeam.jobs.recipe_checks import DEVICES
from hornbeam.recipe.recipe import Recipe
from told import without_code

ROOT = Path(__file__).parents[2]
HEAVY = ["torch", "transformers", "sqlalchemy", "datasets", "bm25s", "reasoning_gym", "sympy"]
HEAVY += ["math_verify", "peft", "ray", "vllm", "huggingface_hub", "safetensors"]

# Runs commands one after the other in one process: (exit code, stderr, what is heavy by then).
SCRIPT = f"""
import contextlib, io, json, sys
from hornbeam.cli.main import main
heavy, told = set({HEAVY}), []
for words in json.load(sys.stdin):
    sys.argv, said, code = ["hornbeam", *words], io.StringIO(), 0
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            main()
    except SystemExit as end:
        code = end.code or 0
    told.append((code, said.getvalue(), sorted(heavy & set(sys.modules))))
json.dump(told, sys.stdout)
"""


def load_typos():
    spec = importlib.util.spec_from_file_location("typos", ROOT / "bench" / "typos.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


typos = load_typos()


def commands(folder, lines):
    """What comes of command lines, each a list of words, in one fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=json.dumps(lines),
        capture_output=True,
        text=True,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return [(code, without_code(said), heavy) for code, said, heavy in json.loads(done.stdout)]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("typos") / "bad.toml"
    path.write_text(typos.RECIPE)
    return path


def test_there_is_a_typo_of_every_section():
    sections = [section for section, *_ in typos.CASES]
    assert {*sections} - {""} == {*Recipe.model_fields}
    assert "" in sections


def test_a_typo_of_every_section_is_one_line_before_slow_imports(recipe):
    lines = [typos.words(recipe, changes) for _, _, changes, _ in typos.CASES]
    for case, result in zip(typos.CASES, commands(recipe.parent, lines), strict=True):
        code, said, heavy = result
        assert (code, heavy) == (2, []), (case, result)
        assert said.startswith("hornbeam: ") and said.count("\n") == 1, (case, said)
        assert case[3] in said, (case, said)
    assert not recipe.with_name("run").exists()


OTHERS = {
    "train --dry-run": ["grow.strategy=brnch", "sft={data='no.jsonl'}", "model.name=tinny"],
    "eval": ["model.name=tinny", "program.name=lokup", "agents={seekr={}}"],
    "search": ["search.methods.0.choose=bst", "guides={}", "tasks.eval=[]", "run.steps='x'"],
    "label": ["label.strategy=mctss", "tools={calculator={}}"],
    "chunks --out set.jsonl": ["chunks.sample=2", "tasks.train.0.source=lokup"],
    "anchor": ["model.name=tinny", "credit.method=grop", "anchor={model='tinny'}"],
    "fit --trees no.jsonl --out prm": ["fit.los='mse'", "run.steps=1"],  # the second: no such file
}


def test_every_command_tells_a_typo_before_slow_imports(recipe):
    lines, made = [], []
    for command, changes in OTHERS.items():
        name, *options = command.split()
        for change in changes:
            made.append((command, change))
            lines.append([name, str(recipe), *options, "--set", change])
    for case, (code, said, heavy) in zip(made, commands(recipe.parent, lines), strict=True):
        assert (code, said.count("\n")) == (2, 1), (case, said)
        assert {*heavy} <= {"sqlalchemy"}, case  # a search keeps trees


def test_a_typo_of_an_own_reward_is_as_early(recipe):
    recipe.with_name("own.py").write_text("def score(task, answer):\n    return 1\n")
    recipe.with_name("heavy.py").write_text("import torch\ndef loss(ratio):\n    return ratio\n")
    told = {
        "reward.rule=won.py:score": "did you mean 'own.py'?",
        "reward.rule=own.py:scor": "did you mean 'score'?",
        "loss.objective=heavy.py:los": "did you mean 'loss'?",
        "loss.terms=[{use='heavy.py:los'}]": "did you mean 'loss'?",
        "grow.strategy=own.py:scor": "did you mean 'score'?",
        "credit.method=own.py:scor": "did you mean 'score'?",
        "agents.seeker.segment={by='own.py:scor'}": "did you mean 'score'?",
        "tasks.train=[{source='own.py:scor'}]": "did you mean 'score'?",
    }
    lines = [typos.words(recipe, [change]) for change in told]
    for hint, (code, said, heavy) in zip(told.values(), commands(recipe.parent, lines)):
        assert (code, said.count("\n"), heavy) == (2, 1, []) and hint in said, said


def test_what_a_command_is_told_beside_the_recipe_is_checked_as_early(recipe):
    lines = [
        ["train", "tinny"],
        ["train", str(recipe), "--policy", "too"],
        ["train", str(recipe), "--workers", "rey"],
        ["eval", str(recipe), "--model", "smolm2-135m"],
        ["search", str(recipe)],  # no fitted model lies at guides.value.model
        ["search", str(recipe), "--pool", "no.jsonl"],
        ["label", str(recipe), "--method", "mctss"],
    ]
    for words, (code, said, heavy) in zip(lines, commands(recipe.parent, lines), strict=True):
        assert (code, said.count("\n")) == (2, 1), (words, said)
        assert {*heavy} <= {"sqlalchemy"}, words  # a search keeps trees


def test_a_model_that_nobody_has_is_told_before_torch_is_imported(recipe, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HORNBEAM_CACHE", str(tmp_path))
    items = tmp_path / "items.jsonl"
    item = {"id": "a", "problem": "?", "steps": ["b"], "label": -1, "final_answer_correct": True}
    items.write_text(json.dumps(item) + "\n")
    own = ["--set", "model.name=somebody/nothing"]
    lines = [
        [*typos.words(recipe, []), *own],
        ["eval", str(recipe), *own],
        ["label", str(recipe), *own],
        ["eval", "processbench", "--data", str(items), "--model", "tinny"],
        ["eval", "processbench", "--data", str(items), "--judge", "tinny"],
        ["steps", str(items), "--out", "x", "--from", "prm800k", "--model", "tinny"],
    ]
    for words, (code, said, heavy) in zip(lines, commands(recipe.parent, lines), strict=True):
        assert code == 2 and "hornbeam: " in said, (words, said)
        assert not {*heavy} & {"torch", "transformers"}, (words, heavy)
        assert "HF_HUB_OFFLINE is set" in said or own[0] not in words, said


def test_rows_that_the_tiny_template_cannot_say_are_told_without_torch(recipe):
    rows = recipe.with_name("rows.jsonl")
    tool = {"role": "tool", "content": "4"}
    talk = [{"role": "user", "content": "?"}, tool, {"role": "assistant", "content": "4"}]
    rows.write_text(json.dumps({"messages": talk, "tools": [{"name": "add"}]}) + "\n")
    words = [*typos.words(recipe, []), "--set", f"sft.data={rows}"]
    for result in commands(recipe.parent, [[*words, "--dry-run"]]):
        assert result[0] == 2 and f"{rows}, line 1: " in result[1] and "torch" not in result[2], (
            result
        )


def test_help_and_the_package_are_there_without_slow_imports(recipe):
    names = [name.split() for name in typer.main.get_command(app).commands]
    assert ["eval", "processbench"] in names and ["train"] in names
    lines = [["--help"], *([*name, "--help"] for name in names)]
    for words, (code, said, heavy) in zip(lines, commands(recipe.parent, lines), strict=True):
        assert (code, said, heavy) == (0, "", []), words
    code = f"import sys, hornbeam; print(sorted(set({HEAVY}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_torch_knows_every_kind_of_device_that_recipes_may_name():
    import torch

    assert {torch.device(name).type for name in DEVICES} == {*DEVICES}
