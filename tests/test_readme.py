"""The README's code runs and prints what stands below it; the door is what it says."""

import contextlib
import io
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import hornbeam

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"


def test_the_code_prints_what_stands_below_it():
    text = README.read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    shown = re.search(r"```text\n(.*?)```", text, re.DOTALL)[1]
    result = io.StringIO()
    with contextlib.redirect_stdout(result):
        exec(compile(code, "README.md", "exec"), {})
    assert result.getvalue().strip() == shown.strip()


def test_the_code_that_trains_trains(tmp_path, monkeypatch):
    """As it stands, but for a tiny model, one short step and a task that needs no data."""
    code = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)[1]
    small = {'"smollm2-135m"': '"tiny"', '"gsm8k"': '[hb.Task("sum", "3 + 4", "7")]'}
    for shown, less in small.items():
        assert code.count(shown) == 1
        code = code.replace(shown, less)
    agents = {"solver": {"max_tokens": 2}}
    monkeypatch.setattr(hornbeam, "train", partial(hornbeam.train, steps=1, agents=agents))
    monkeypatch.chdir(tmp_path)
    result = io.StringIO()
    with contextlib.redirect_stdout(result):
        exec(compile(code, "README.md", "exec"), {})
    assert "trained 1 steps; weights: runs/single/final" in result.getvalue()


def test_links_lead_somewhere():
    for page in [README, *README.parent.glob("docs/*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_the_picture_of_results_is_that_of_the_committed_figures(tmp_path):
    path = tmp_path / "results.svg"
    subprocess.run([sys.executable, "bench/results_picture.py", path], cwd=ROOT, check=True)
    assert path.read_text("utf-8") == (ROOT / "docs/images/results.svg").read_text("utf-8")


def test_the_door_is_all_there():
    order = sorted(hornbeam.__all__, key=lambda name: (not name.isupper(), name))
    assert order == hornbeam.__all__
    for name in hornbeam.__all__:
        assert getattr(hornbeam, name).__doc__
