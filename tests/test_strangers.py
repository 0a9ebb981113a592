"""Folders of other people: what lies there is data. None of their code runs unless it is asked for,
and nothing is written where their links lead."""

import ast
import json
import os
import pickle
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import hornbeam
from hornbeam.assembly.endpoints import chat_of
from hornbeam.errors import ModelError, StoreError
from hornbeam.models import tiny_model
from hornbeam.store.database import Store, export
from hornbeam.train import value_files, weights

pytestmark = pytest.mark.timeout(600)  # processes of their own, on a busy machine
SOURCE = Path(hornbeam.__file__).parent
RECIPE = """
[run]
steps = 2
tasks = 1
eval_every = 0
eval_start = false
[model]
name = "tiny"
options = {width = 16, layers = 1}
[agents.seeker]
max_tokens = 3
[program]
name = "mine.py:solve"
[[tasks.train]]
source = "lookup"
count = 2
[reward]
rule = "mine.py:points"
workers = 1
[grow]
strategy = "independent"
n = 2
[credit]
method = "grpo"
"""
MINE = """
import sys
print("THE CODE RUNS", file=sys.stderr)

async def solve(task, ep):
    return (await ep.ask("seeker", [{"role": "user", "content": task.question}])).text

def points(task, text):
    return len(text) % 2
"""


class Opens:
    """Unpickled, it makes a file."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


def leaves_a_mark(mark, code=""):
    """Python that makes a file as it is imported."""
    return f"open({str(mark)!r}, 'w').close()\n{code}"


# --- models --------------------------------------------------------------------------------------

OWN_CODE = """
from transformers import LlamaForCausalLM, PretrainedConfig, PreTrainedTokenizerFast as Words
class Config(PretrainedConfig):
    model_type = "own"
class Model(LlamaForCausalLM):
    pass
"""
OWN = {"AutoConfig": "own.Config", "AutoTokenizer": ["own.Words", "own.Words"]}
OWN |= dict.fromkeys(("AutoModelForCausalLM", "AutoModelForTokenClassification"), "own.Model")


def changed(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | values), "utf-8")


def own_family(folder, mark):
    changed(folder / "config.json", model_type="own", auto_map=OWN)


def own_words(folder, mark):
    changed(folder / "tokenizer_config.json", auto_map=OWN, tokenizer_class="Words")


def plain_pickle(folder, mark):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Opens(mark)))


def torch_pickle(folder, mark):
    (folder / "model.safetensors").unlink()
    torch.save({"a": Opens(mark)}, folder / "pytorch_model.bin")


def adapter(folder, mark):
    held = {"peft_type": "LORA", "base_model_name_or_path": str(folder), "r": 2}
    held |= {"auto_mapping": {"base_model_class": "Model", "parent_library": "own"}}
    (folder / "adapter_config.json").write_text(json.dumps(held), "utf-8")
    torch.save({"a": Opens(mark)}, folder / "adapter_model.bin")


def template(folder, mark):
    code = f"{{{{ cycler.__init__.__globals__.os.system('touch {mark}') }}}}"
    (folder / "chat_template.jinja").write_text(code, "utf-8")


@pytest.mark.parametrize(
    "bad", [own_family, own_words, plain_pickle, torch_pickle, adapter, template]
)
def test_a_model_is_read_as_data(bad, tmp_path, capsys, monkeypatch):
    folder, mark = tiny_model.make(tmp_path / "model", 0, width=16, layers=1), tmp_path / "mark"
    (folder / "own.py").write_text(leaves_a_mark(mark, OWN_CODE), "utf-8")
    bad(folder, mark)
    monkeypatch.chdir(folder)
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asks whether to run code"))
    refused = 0
    for read in (weights.load, value_files.load, lambda path: chat_of("it", path)):
        try:
            read(folder)
        except ModelError as error:
            refused += 1
            assert ("\n" not in str(error) and str(folder) in str(error)) or "refuses" in str(error)
    assert refused and not mark.exists()


def test_every_reader_of_models_reads_data_alone():
    """Each call says so: what is left out is asked of a person, or the library's default."""
    bad = []
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            given = ast.unparse(node)
            data = "AS_DATA" in given or "trust_remote_code=False" in given
            if node.func.attr in ("from_pretrained", "from_config") and not data:
                bad.append((path.name, given))
            if ast.unparse(node.func) == "torch.load" and "weights_only=True" not in given:
                bad.append((path.name, given))
    assert not bad


def test_nothing_that_is_kept_is_a_pickle():
    """Worlds of Python are copied by it within one process; no file or row of ours is one."""
    names = {"pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle"}
    found = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            used = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            used += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if names & {name.partition(".")[0] for name in used}:
                found.add(path.relative_to(SOURCE).as_posix())
    assert found == {"worlds/python_world.py", "models/catalogue.py"}  # the latter: an error's name


# --- run folders ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a run of a program of its own, the files beside it."""
    run = tmp_path_factory.mktemp("stranger") / "run"
    run.mkdir()
    files = tmp_path_factory.mktemp("files")
    (files / "r.toml").write_text(RECIPE, "utf-8")
    (files / "mine.py").write_text(MINE, "utf-8")
    done = command(files, "train", "r.toml", "--out", run)
    assert done.returncode == 0, done.stderr
    with Store(run, read_only=True) as store:
        assert export(store, run / "trees.jsonl") == 2
    return run


@pytest.fixture
def run(trained, tmp_path):
    """A copy of it, with code in it that would leave a mark."""
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    for name in ("mine", "json", "torch", "sqlite3", "transformers", "sitecustomize", "typer"):
        (folder / f"{name}.py").write_text(leaves_a_mark(tmp_path / "mark", MINE), "utf-8")
    return folder


def command(folder, *words):
    """A command as its script starts it, in a folder."""
    start = [sys.executable, "-P", "-c", "from hornbeam.cli.main import main; main()"]
    return subprocess.run(
        [*start, *map(str, words)], cwd=folder, capture_output=True, text=True, check=False
    )


def test_looking_at_a_run_runs_none_of_its_code(run, tmp_path, hornbeam, monkeypatch):
    monkeypatch.chdir(run)
    looks = ["view .", "export .", "credit grpo trees.jsonl", "view trees.jsonl"]
    looks += ["score trees.jsonl --rule exact --replace --out s.jsonl", "view . --tree train/0/0"]
    for number, words in enumerate(looks):
        if number:  # what is imported from the folder is seen by the first
            code, err, _ = hornbeam(*words.split())
        else:
            done = command(run, *words.split())
            code, err = done.returncode, done.stderr
        assert code == 0, (words, err)
        assert not (tmp_path / "mark").exists(), words


def test_the_code_of_a_recipe_is_named_before_it_runs(run, tmp_path):
    (run / "mine.py").write_text(MINE, "utf-8")
    done = command(run, "train", "recipe.toml", "--out", run)
    said = done.stderr.splitlines()
    assert done.returncode == 0 and said[0] == "Code of this recipe that runs: mine.py"
    assert "THE CODE RUNS" in said[1:] and not (tmp_path / "mark").exists()


def test_a_checkpoint_is_read_as_data(run, tmp_path, hornbeam):
    (run / "mine.py").write_text(MINE, "utf-8")
    step = max((run / "checkpoints").iterdir())
    (state,) = step.rglob("*.pt")
    torch.save({"a": Opens(tmp_path / "mark")}, state)
    manifest = json.loads((step / "manifest.json").read_text("utf-8"))
    manifest["files"][str(state.relative_to(step))] = state.stat().st_size
    (step / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    code, err, _ = hornbeam("train", run / "recipe.toml", "--out", run)
    assert code == 2 and "no readable trainer state" in err, err
    assert not (tmp_path / "mark").exists()


# --- links ---------------------------------------------------------------------------------------

WRITES = {
    "report.html": "view .",
    "trees.jsonl": "export .",
    "trees.html": "view trees.jsonl",
    "metrics.jsonl": "train recipe.toml --out .",
    "lock": "train recipe.toml --out .",
    "run.db-wal": "train recipe.toml --out .",
    "checkpoints": "train recipe.toml --out .",
    "final": "train recipe.toml --out .",
}


@pytest.mark.parametrize(("name", "words"), WRITES.items())
def test_nothing_is_written_through_a_link(name, words, run, tmp_path, hornbeam, monkeypatch):
    monkeypatch.chdir(run)
    (run / "mine.py").write_text(MINE, "utf-8")
    own = tmp_path / "own"
    if (run / name).is_dir():
        shutil.move(run / name, own)
    else:
        (run / name).unlink(missing_ok=True)
        own.write_text("mine\n", "utf-8")
    held = {path: path.read_bytes() for path in [own, *own.rglob("*")] if path.is_file()}
    (run / name).symlink_to(own)
    if name == "trees.html":
        (run / name).rename(run / "t.html")
        (run / "trees.jsonl").rename(run / "t.jsonl")
        words = "view t.jsonl"
    code, err, _ = hornbeam(*words.split())
    assert code == 2 and "is a link to" in err.splitlines()[-1], err
    assert {path: path.read_bytes() for path in [own, *own.rglob("*")] if path.is_file()} == held


def test_a_planted_part_is_no_way_out_either(run, tmp_path, hornbeam, monkeypatch):
    monkeypatch.chdir(run)
    (own := tmp_path / "own").write_text("mine\n", "utf-8")
    for name in ("report.html", "trees.jsonl", "trees.html"):
        (run / f".{name}.part").symlink_to(own)
    assert hornbeam("view", ".")[0] == 2 and hornbeam("export", ".")[0] == 2
    assert hornbeam("view", "trees.jsonl", "--out", "trees.html")[0] == 0
    assert own.read_text("utf-8") == "mine\n"


def test_links_within_a_run_stay(run, hornbeam):
    (run / "latest").symlink_to("final")
    assert hornbeam("view", run)[0] == 0
    os.mkfifo(run / "more")
    code, err, _ = hornbeam("view", run)
    assert code == 2 and "more is no file that can be kept there" in err


def test_a_damaged_format_of_a_database_is_one_line(tmp_path):
    Store(tmp_path).close()
    with sqlite3.connect(tmp_path / "run.db") as link:
        link.execute("update meta set value = 'x' where name = 'format'")
    with pytest.raises(StoreError, match="written in format x, this Hornbeam reads format"):
        Store(tmp_path, read_only=True)
