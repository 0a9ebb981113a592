"""What stands on a terminal while a run goes on, and what in a file."""

import json
import re
import subprocess
import sys
from io import StringIO
from itertools import count

import pytest
from rich.cells import cell_len
from rich.console import Console

from hornbeam.assembly.progress import Progress
from hornbeam.tree.jsonl import write_trees
from hornbeam.tree.nodes import Node, Tree

from .doors import SINGLE, search

TOLD = "reward 0.561  mixed 3/8  3,184 tok/s  failed 3  cut off 20 %"


@pytest.mark.parametrize("width", [60, 80, 140])
def test_a_bar_stands_in_one_line_of_a_terminal(width):
    text = StringIO()
    progress = Progress(Console(file=text, width=width, force_terminal=True))
    progress.begin("training", 20)
    progress.step(3, TOLD)
    progress.end()
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.getvalue()).replace("\r", "\n")
    lines = [line for line in drawn.split("\n") if line.strip()]
    assert any("━" in line and "3/20" in line and "reward 0.5" in line for line in lines)
    assert all(cell_len(line) <= width and line.startswith("training") for line in lines)


def test_an_evaluation_among_steps_is_told_by_the_bar_of_training():
    text = StringIO()
    progress = Progress(Console(file=text, width=80, force_terminal=True))
    progress.begin("training", 20, 3)
    ended = progress.nested("evaluation", 40)
    ended()
    progress._progress.refresh()
    progress.end()
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.getvalue())
    assert "3/20 evaluation 1/40" in " ".join(drawn.split())


def test_a_file_holds_plain_lines():
    text = StringIO()
    progress = Progress(Console(file=text, width=80))
    ended = progress.count("evaluation", 2)
    ended()
    progress.step(1, TOLD, "step 1/2")
    progress.end()
    assert text.getvalue() == "step 1/2\n"


def test_the_run_folder_is_named_before_what_is_slow_is_imported(tmp_path):
    code = (
        "import sys\nfrom hornbeam.assembly.progress import Progress\nsay = Progress.say\n"
        "def told(self, text, style=''):\n"
        "    print([m in sys.modules for m in ('torch', 'transformers')], text, flush=True)\n"
        "    raise SystemExit(0)\n"
        "Progress.say = told\nfrom hornbeam.cli.main import main\nmain()\n"
    )
    for command in ("train", "search", "label"):
        words = [command, "tiny", "--out", str(tmp_path / command)]
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
        said = f"[False, False] Run folder: {tmp_path / command}\n"
        assert done.stdout == said, done.stdout + done.stderr


# Runs commands one after the other where nothing slow can be imported: (stdout, stderr) of each.
UNABLE = """
import contextlib, io, json, sys
from importlib.abc import MetaPathFinder
class Unable(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "transformers"):
            raise ImportError(name)
sys.meta_path.insert(0, Unable())
from hornbeam.cli.main import main
told = []
for words in json.load(sys.stdin):
    sys.argv, said, error = ["hornbeam", *words], io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(error), contextlib.redirect_stdout(said):
        with contextlib.suppress(SystemExit, ImportError):
            main()
    told.append((said.getvalue(), error.getvalue()))
json.dump(told, sys.stdout)
"""
TINY = "loading tiny (torch, transformers)"
RANDOM = (
    'warning: model.name = "tiny" is untrained: its weights are random, and so are the results;'
    " name trained ones, as --model runs/tiny/final"
)


def test_what_is_loading_is_told_before_it_is_imported(tmp_path):
    (tmp_path / "tiny.toml").write_text(
        '[reward]\nrule = "exact"\n[model]\nname = "tiny"\n[agents.seeker]\n'
        '[program]\nname = "lookup"\n[tools.lookup]\n'
        '[[tasks.train]]\nsource = "lookup"\ncount = 2\n[[tasks.eval]]\nsource = "lookup"\n'
        'split = "test"\ncount = 2\n[anchor]\n[[search.methods]]\nname = "single"\n'
        '[label]\nstrategy = "rollouts"\n[guides.judge]\nkind = "judge"\nmodel = "little"\n'
    )
    (tmp_path / "little").mkdir()
    (tmp_path / "little" / "config.json").write_text("{}")
    node = Node(parent=0, text="1", done=True)
    write_trees([Tree({"id": "a", "question": "?"}, [Node(-1), node])], tmp_path / "trees.jsonl")
    wants = {
        "train tiny.toml": [TINY],
        "eval tiny.toml": [RANDOM, TINY],
        "eval tiny.toml --json": [RANDOM, TINY],
        "search tiny.toml": [RANDOM, TINY],
        "label tiny.toml": [RANDOM, TINY],
        "chunks tiny.toml --out set.jsonl": [RANDOM, TINY],
        "anchor tiny.toml": [TINY],
        "fit tiny.toml --trees trees.jsonl --out prm": [TINY],
        "score trees.jsonl --model little --out scored.jsonl": [TINY.replace("tiny", "little")],
        "eval tiny.toml --model little": [TINY.replace("tiny", "little")],
        "train tiny.toml --dry-run": [],
        "eval tiny.toml --set run.sedd=1": ["hornbeam: "],
    }
    done = subprocess.run(
        [sys.executable, "-c", UNABLE],
        input=json.dumps([line.split() for line in wants]),
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    for (line, want), (said, error) in zip(wants.items(), json.loads(done.stdout), strict=True):
        assert [a[: len(b)] for a, b in zip(error.splitlines(), want)] == want, (line, error)
        assert len(error.splitlines()) == len(want) and "loading" not in said, (line, error)


def test_an_evaluation_has_a_bar_on_a_terminal(hornbeam, monkeypatch, tmp_path):
    """Its bar goes to stderr; the figures alone to stdout."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    code, error, said = hornbeam("eval", "tiny", "--set", "tasks.eval.0.count=3", "--json")
    assert code == 0 and json.loads(said)["count"] == 3
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", error).replace("\r", "\n").split("\n")
    bars = [line for line in lines if line.startswith("evaluation")]
    assert bars and "━" in bars[-1] and "3/3" in bars[-1] and max(map(cell_len, bars)) <= 80
    monkeypatch.delenv("FORCE_COLOR")
    code, error, said = hornbeam("eval", "tiny", "--set", "tasks.eval.0.count=3")
    assert code == 0 and error == RANDOM and " of 3" in said


def test_a_file_holds_a_line_of_a_long_stage_now_and_then():
    text, now = StringIO(), [100.0]
    progress = Progress(Console(file=text, width=80), lambda: now[0])
    progress.begin("warm start", 12, 2)
    for done in range(3, 13):
        now[0] += 10.0
        progress.step(done, f"loss {1 / done:.3f}")
    progress.end()
    assert text.getvalue().splitlines() == [
        "warm start: 5/12  loss 0.200",
        "warm start: 8/12  loss 0.125",
        "warm start: 11/12  loss 0.091",
    ]
    ended = progress.count("scoring", 3)  # a stage begins anew
    now[0] += 29.0
    ended()
    progress.step(2, "", "its own line")
    now[0] += 29.0
    progress.step(2, "")
    assert text.getvalue().splitlines()[3:] == ["its own line"]


def test_a_file_holds_a_line_of_an_evaluation_among_steps_now_and_then():
    text, now = StringIO(), count(0, 20)
    progress = Progress(Console(file=text, width=80), clock=lambda: next(now))
    progress.begin("training", 20)
    ended = progress.nested("evaluation", 4)
    for _ in range(4):
        ended()
    assert text.getvalue().splitlines() == ["evaluation: 1/4", "evaluation: 3/4"]


def test_trees_grown_into_a_folder_are_told_one_by_one(world, tmp_path):
    """However many grow at once."""
    ticks = count(0, 40)
    text = StringIO()
    progress = Progress(Console(file=text, width=200), lambda: next(ticks))
    search(world, tmp_path / "run", SINGLE, progress=progress)
    assert [line for line in text.getvalue().splitlines() if "/4" in line] == [
        *(f"1 sample a task (single): {n}/4" for n in (1, 2, 3, 4))
    ]
