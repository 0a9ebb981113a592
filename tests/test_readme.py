"""The README's code runs and prints what stands below it; the door is what it says."""

import contextlib
import io
import re
import subprocess
import sys
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
