"""The files that a recipe names: where they are looked for, and what a dry run says of them."""

import asyncio
import json
from types import SimpleNamespace

import pytest

from hornbeam.assembly.plan import plan
from hornbeam.assembly.recipe_files import check_files
from hornbeam.errors import ModelError, RecipeError
from hornbeam.files import paths
from hornbeam.recipe.recipe import load_recipe
from hornbeam.tree.task import Task

RECIPE = """
[run]
steps = 1
eval_start = false
[model]
name = "{model}"
[agents.solver]
[program]
name = "agent.py:run"
[tools.add]
use = "agent.py:add"
[tools.seek]
use = "retrieval"
corpus = "passages.jsonl"
[[tasks.train]]
source = "jsonl"
path = "own.jsonl"
[[tasks.eval]]
source = "jsonl"
path = "held.jsonl"
[reward]
rule = "exact"
[sft]
data = "set.jsonl"
[guides.value]
model = "prm"
[guides.verdict]
kind = "judge"
model = "judge"
"""
FILES = {
    "agent.py": "async def run(task, ep):\n    return HERE\n\ndef add(a: int):\n    return a\n",
    "own.jsonl": '{"question": "2 + 2?", "answer": "4"}\n',
    "held.jsonl": '{"question": "2 + 3?", "answer": "5"}\n',
    "passages.jsonl": '{"id": "a", "text": "a river"}\n',
    "set.jsonl": '{"messages": [{"role": "user", "content": "2?"}], "text": "2"}\n',
}


def write(folder, mark, *names):
    """The files of the recipe, told apart by a mark."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or FILES:
        text = FILES[name].replace("HERE", repr(mark)).replace("2 + 2", f"{mark} + 2")
        (folder / name).write_text(text.replace("a river", f"{mark} river"))


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A recipe in a folder of its own, and another folder that is worked in."""
    beside, here = tmp_path / "beside", tmp_path / "here"
    beside.mkdir()
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.delenv("HORNBEAM_DATA", raising=False)
    recipe = beside / "own.toml"
    recipe.write_text(RECIPE.format(model="tiny"))
    return SimpleNamespace(beside=beside, here=here, recipe=recipe)


def test_a_name_is_looked_for_beside_the_recipe_then_here_then_in_other_folders(tmp_path, made):
    more = tmp_path / "more"
    write(more, "more", "own.jsonl")
    assert paths.find("own.jsonl", made.beside, None, more) == more / "own.jsonl"
    write(made.here, "here", "own.jsonl")
    assert str(paths.find("own.jsonl", made.beside, more)) == "own.jsonl"
    write(made.beside, "beside", "own.jsonl")
    assert paths.find("own.jsonl", made.beside, more) == made.beside / "own.jsonl"
    assert paths.find(made.here / "own.jsonl", made.beside) == made.here / "own.jsonl"
    assert str(paths.find("own", made.beside, folder=True)) == "own"  # a file is no folder
    result = paths.missing("owns.jsonl", made.beside)
    assert result == f"no such file in {made.beside} or {made.here}; did you mean 'own.jsonl'?"


@pytest.mark.parametrize("where", ["beside", "here"])
def test_all_files_of_a_recipe_are_found_by_the_one_rule(made, where):
    write(made.here, "here")
    if where == "beside":
        write(made.beside, "beside")
    recipe = load_recipe(made.recipe)
    found = plan(recipe, made.beside)
    assert asyncio.run(found.program(Task("1", "?"), None)) == where
    assert found.train.tasks[0].question == f"{where} + 2?"
    assert where in found.tools["seek"]("river")
    assert found.shown is not None
    assert found.shown.resolve() == getattr(made, where) / "set.jsonl"
    for name in ("base", "prm"):
        for folder in (made.here, made.beside)[: 1 + (where == "beside")]:
            (folder / name).mkdir(exist_ok=True)
        assert recipe.folder(name).resolve() == getattr(made, where) / name


def test_a_folder_of_the_command_line_is_meant_from_here(made):
    recipe = load_recipe(made.recipe)
    for folder in (made.here, made.beside):
        (folder / "final").mkdir()
    assert recipe.folder("final") == made.beside / "final"
    assert recipe.with_weights("final").model.name == str(made.here / "final")
    assert recipe.with_weights("smollm2-135m").model.name == "smollm2-135m"


def test_a_dry_run_tells_all_that_is_missing_a_line_each(made, hornbeam):
    code, said, out = hornbeam("train", made.recipe, "--dry-run")
    lines = said.splitlines()
    assert code == 2 and not out
    keys = ["program.name", "tools.add.use", "tasks.train.0.path", "tasks.eval.0.path"]
    keys += ["tools.seek.corpus", "sft.data"]
    assert [line.split(" = ")[0] for line in lines] == [f"hornbeam: {key}" for key in keys]
    assert all("no such file in " in line for line in lines)
    write(made.beside, "beside")
    (made.beside / "set.jsonl").write_text('{"messages": []}\n')
    (made.beside / "held.jsonl").write_text('{"question": "?"}\nnope\n')
    code, said, out = hornbeam("train", made.recipe, "--dry-run")
    assert code == 2 and not out
    assert [line.split(" = ")[0] for line in said.splitlines()] == [
        "hornbeam: tasks.eval.0.path",
        "hornbeam: sft.data",
    ]
    assert (
        "held.jsonl, line 2: not JSON" in said
        and "set.jsonl, line 1: the conversation is empty" in said
    )


def test_a_dry_run_tells_models_that_others_would_read(made, hornbeam):
    write(made.beside, "beside")
    code, said, out = hornbeam("train", made.recipe, "--dry-run")
    assert (code, said) == (0, "")
    others = [line for line in out.splitlines() if "not read by train" in line]
    assert [line.split(": ")[1].split(" = ")[0] for line in others] == [
        "guides.value.model",
        "guides.verdict.model",
    ]
    assert "`hornbeam fit` makes one" in others[0]
    shaped = ("--set", "credit.method=shaped", "--set", "credit.column=value")
    code, said, _ = hornbeam("train", made.recipe, "--dry-run", *shaped)
    assert code == 2 and said.startswith('hornbeam: guides.value.model = "prm": no such folder in')
    (made.beside / "prm").mkdir()
    (made.beside / "prm" / "config.json").write_text("{}")
    code, said, _ = hornbeam("train", made.recipe, "--dry-run", *shaped)
    assert code == 2 and said.endswith("is no fitted value model: `hornbeam fit` makes one")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("smollm2-135n", "did you mean 'smollm2-135m'?"),
        ("runs/calculater", "did you mean 'runs/calculator'? (a model of the hub is pulled first"),
        ("./gone", "no such model folder"),
        ("~/gone", "no such model folder"),
    ],
)
def test_a_dry_run_refuses_a_model_that_is_not_known(made, hornbeam, model, message):
    write(made.beside, "beside")
    (made.here / "runs" / "calculator").mkdir(parents=True)
    made.recipe.write_text(RECIPE.format(model=model))
    code, said, out = hornbeam("train", made.recipe, "--dry-run")
    assert code == 2 and not out and len(said.splitlines()) == 1
    assert said.startswith(f"hornbeam: model.name = {json.dumps(model)}: ") and message in said


def test_a_model_of_the_hub_is_no_missing_folder(made):
    write(made.beside, "beside")
    made.recipe.write_text(RECIPE.format(model="owner/name"))
    recipe = load_recipe(made.recipe)
    assert check_files(recipe, made.beside, "train", "weights", deep=True)
    with pytest.raises(ModelError, match=r"owner/name is not on this machine yet"):
        from hornbeam.models import catalogue

        catalogue.resolve(recipe.folder("owner/name"))
    made.recipe.write_text(RECIPE.format(model="tiny").replace("own.jsonl", "gone.jsonl"))
    with pytest.raises(RecipeError, match=r'^tasks.train.0.path = "gone.jsonl": no such file'):
        plan(load_recipe(made.recipe), made.beside)


def test_files_of_anchors_are_read_by_training_where_it_uses_them(tmp_path):
    """A teacher that the same recipe trains need not be there before."""
    write(tmp_path, "here")
    file = tmp_path / "recipe.toml"
    file.write_text(RECIPE.format(model="tiny") + '[anchor]\nteacher = "teacher/final"\n')
    line = 'anchor.teacher = "teacher/final": '
    assert any(
        result.startswith(line) for result in check_files(load_recipe(file), tmp_path, "train")
    )
    for used in (["anchor.inject=true"], ["credit={method='anchor'}"]):
        with pytest.raises(RecipeError, match=line):
            check_files(load_recipe(file, used), tmp_path, "train")
    with pytest.raises(RecipeError, match=line):
        check_files(load_recipe(file), tmp_path, "anchor")
