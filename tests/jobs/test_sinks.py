"""Runs with sinks: what each hears over resumes, what is refused before anything is loaded."""

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys

import pytest

from hornbeam.assembly.sink_makers import check_sinks
from hornbeam.errors import RecipeError, how_to_get
from hornbeam.jobs.train.training import Run
from hornbeam.recipe.recipe import load_recipe
from hornbeam.store.database import Store

from ..sinks import wandb_file
from .doors import Silent

SINK = """
import json
import os
import signal

def other():
    pass

class Lines:
    def __init__(self, path, fail: str = ""):
        self.path, self.fail = path, fail

    def start(self, run):
        self.write(start=run.told, id=run.id, title=run.title, store=run.recipe["run"]["store"])

    def row(self, kind, step, figures):
        self.write(kind=kind, step=step, stage=figures.get("stage", ""))
        if self.fail == kind:
            raise OSError(28, "No space left on device")

    def tree(self, key, tree, calls):
        if self.fail == "kill" and (key.stage, key.step) == ("train", 2):
            os.kill(os.getpid(), signal.SIGKILL)

    def write(self, **data):
        with open(self.path, "a") as stream:
            stream.write(json.dumps(data) + "\\n")
"""


@pytest.fixture
def train(made, tmp_path):
    """Trains so many steps with sinks; what was said."""
    (tmp_path / "mine.py").write_text(SINK)

    def run(steps, *sets):
        progress = Silent()
        recipe, what = made(f"run.steps={steps}", *sets)
        check_sinks(recipe)
        asyncio.run(Run(recipe, what, tmp_path / "run", progress).go())
        return progress.text.getvalue()

    return run


def lines_of(tmp_path, **more):
    settings = {"use": "mine.py:Lines", "path": str(tmp_path / "heard.jsonl"), **more}
    return [f"sinks.mine.{key}={json.dumps(value)}" for key, value in settings.items()]


def heard(tmp_path):
    found = map(json.loads, (tmp_path / "heard.jsonl").read_text().splitlines())
    return [(row["kind"], row["stage"], row["step"]) for row in found if "kind" in row]


def kept(tmp_path):
    with Store(tmp_path / "run", read_only=True) as store:
        return [(row["kind"], row.get("stage", ""), row["step"]) for row in store.metrics()]


def test_a_sink_of_ones_own_hears_every_row_once_over_resumes(train, tmp_path):
    train(2, *lines_of(tmp_path))
    train(3, *lines_of(tmp_path))
    assert heard(tmp_path) == kept(tmp_path)
    assert ("train", "", 2) in heard(tmp_path)
    starts = [json.loads(line) for line in (tmp_path / "heard.jsonl").read_text().splitlines()]
    starts = [each for each in starts if "start" in each]
    assert [each["start"] for each in starts] == [0, starts[1]["start"]] and starts[1]["start"] == 5
    assert starts[0]["id"] == starts[1]["id"] and len(starts[0]["id"]) == 8
    assert starts[0]["title"] == "run"


def test_a_killed_run_tells_no_step_twice(train, tmp_path):
    killed = lines_of(tmp_path, fail="kill")
    sets = [word for change in ("run.steps=3", *killed) for word in ("--set", change)]
    command = [sys.executable, "-m", "hornbeam.cli.main", "train", "luck.toml", "--out", "run"]
    done = subprocess.run([*command, *sets], cwd=tmp_path, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert ("train", "", 1) in heard(tmp_path) and ("train", "", 2) not in heard(tmp_path)
    train(3, *lines_of(tmp_path))
    assert heard(tmp_path) == kept(tmp_path) and ("train", "", 2) in heard(tmp_path)


def test_a_sink_that_comes_later_hears_what_was_before(train, tmp_path):
    train(2)
    train(3, *lines_of(tmp_path))
    assert heard(tmp_path) == kept(tmp_path)


def test_a_failing_sink_changes_nothing(train, tmp_path):
    said = train(2, *lines_of(tmp_path, fail="train"))
    failed = "row: OSError: [Errno 28] No space left on device; later failures are only counted"
    assert f"warning: sink mine: {failed}" in said
    assert "warning: sink mine: 2 of 17 calls failed" in said  # 5 rows, 10 trees, start, close
    assert heard(tmp_path) == kept(tmp_path) and kept(tmp_path)[-1] == ("eval", "final", 2)


BAD = [
    (["sinks.mine.use=mine.py:Line"], "sink: mine.py has no 'Line': did you mean 'Lines'?"),
    (["sinks.mine.use=mine.py:json"], "mine.py: json"),
    (["sinks.mine.use=mine.py:other"], "sinks.mine: mine.py: other has none of the methods"),
    (["sinks.mine.us=mine.py:Lines"], "[sinks.mine] has no key 'us': did you mean 'use'?"),
    (["sinks.mine.use=main.py:Lines"], "no such file in"),
    (["sinks.mine.use=mine.py:Lines"], "Lines needs a setting 'path'"),
    ([*["sinks.mine.use=mine.py:Lines", "sinks.mine.path=a"], "sinks.mine.pth=b"], "'pth'"),
    (["sinks.wand.project=a"], "unknown sink 'wand': did you mean 'wandb'?"),
    (["sinks.wandb.projet=a"], "sink 'wandb' has no setting 'projet': did you mean 'project'?"),
    (["sinks.wandb.mode=off"], "mode = 'off': expected"),
    (["sinks.wandb.api_key=a"], "sinks.wandb.api_key: a run keeps its recipe"),
    (["sinks.mine.use=mine.py:Lines", "sinks.mine.token=a"], "sinks.mine.token: a run keeps"),
]


@pytest.mark.parametrize("sets, line", BAD, ids=[line[:40] for _, line in BAD])
def test_what_cannot_be_is_told_before_anything_is_made(made, tmp_path, sets, line):
    (tmp_path / "mine.py").write_text(SINK)
    recipe, _ = made(*sets)
    with pytest.raises(RecipeError) as told:
        check_sinks(recipe)
    assert line in str(told.value) and "\n" not in str(told.value)


EXTRAS = {
    "tensorboard": "tensorboard",
    "wandb": "wandb",
    "trackio": "trackio",
    "otel": "opentelemetry.sdk",
}


@pytest.mark.parametrize("name", EXTRAS)
def test_a_missing_extra_is_told_first(made, monkeypatch, name):
    recipe, _ = made(f"sinks.{name}.use={name}")
    monkeypatch.setitem(sys.modules, EXTRAS[name], None)
    with pytest.raises(RecipeError) as told:
        check_sinks(recipe)
    assert str(told.value) == f"sinks.{name} needs the extra; {how_to_get(name)}"


def test_a_password_in_a_url_is_told_to_no_sink(made, tmp_path):
    from hornbeam.assembly.run_folder import Folder
    from hornbeam.jobs.train.run_sinks import RunSinks

    (tmp_path / "mine.py").write_text(SINK)
    recipe, what = made('run.store="postgresql://me:hush@host/db"', *lines_of(tmp_path))
    folder = Folder(tmp_path / "run", recipe)
    sinks = RunSinks(folder, what.base, print)
    sinks.start(folder)
    sinks.close()
    folder.store.close()
    assert json.loads((tmp_path / "heard.jsonl").read_text())["store"] == "postgresql://host/db"


def test_tensorboard_goes_on_where_it_was(train, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(1, "run.tensorboard=true")
    (tmp_path / "run" / "sinks" / "tensorboard.json").unlink()  # as runs of before had none
    train(2, "sinks.tensorboard.use=tensorboard")
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("train/reward")] == [0, 1]
    assert [event.step for event in events.Scalars("eval/accuracy")] == [0, 1, 1, 2]


def test_wandb_offline_goes_on_with_its_run(train, tmp_path):
    pytest.importorskip("wandb")
    sets = ["sinks.wandb.project=p", "sinks.wandb.mode=offline"]
    said = train(2, *sets) + train(3, *sets)
    assert "sink wandb" not in said
    (first, before), (second, after) = wandb_file.offline(tmp_path / "run")
    assert first == second
    rows = [values for _, values in before + after]
    assert [number for number, _ in before + after] == list(range(len(rows)))
    assert [row["step"] for row in rows if "train/reward" in row] == [0, 1, 2]
    assert [row["step"] for row in rows if "eval/accuracy" in row] == [
        step for kind, _, step in kept(tmp_path) if kind == "eval"
    ]


def test_trackio_goes_on_with_its_run(train, tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # read as it is imported
    pytest.importorskip("trackio", minversion="0.40")
    sets = ["sinks.trackio.project=p"]
    said = train(2, *sets) + train(3, *sets)
    assert "rackio" not in said
    with sqlite3.connect(tmp_path / "trackio" / "p.db") as db:
        found = db.execute("select run_name, step, metrics from metrics order by id").fetchall()
        ((config,),) = db.execute("select config from configs").fetchall()
    assert len({name for name, _, _ in found}) == 1
    rows = [(step, json.loads(data)) for _, step, data in found]
    assert [step for step, row in rows if "train/reward" in row] == [0, 1, 2]
    evals = [step for kind, _, step in kept(tmp_path) if kind == "eval"]
    assert [step for step, row in rows if "eval/accuracy" in row] == evals
    assert json.loads(config)["run"]["steps"] == 3


def test_wandb_online_without_a_key_is_told_first(made, monkeypatch, tmp_path):
    pytest.importorskip("wandb")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    recipe, _ = made("sinks.wandb.mode=online")
    with pytest.raises(RecipeError, match=r"run `wandb login`, or set sinks\.wandb\.mode"):
        check_sinks(recipe)


def test_the_command_line_and_its_password_are_not_sent(train, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setattr(sys, "argv", ["hornbeam", "--store", "postgresql://me:hush@host/db"])
    train(1, "sinks.wandb.mode=offline")
    wandb_file.written()
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert files and not [path for path in files if b"hush" in path.read_bytes()]


def test_sinks_may_change_at_a_resume(train, tmp_path):
    train(1, *lines_of(tmp_path))
    train(2)
    assert load_recipe(tmp_path / "run" / "recipe.toml").sinks == {}
