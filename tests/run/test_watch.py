"""What stands on a terminal while a run goes on, and what in a file."""

import re
import subprocess
import sys
from io import StringIO

import pytest
from rich.cells import cell_len
from rich.console import Console

from hornbeam.run.watch import Watch

TOLD = "reward 0.561  mixed 3/8  3,184 tok/s  failed 3  cut off 20 %"


@pytest.mark.parametrize("width", [60, 80, 140])
def test_a_bar_stands_in_one_line_of_a_terminal(width):
    text = StringIO()
    watch = Watch(Console(file=text, width=width, force_terminal=True))
    watch.begin("training", 20)
    watch.step(3, TOLD)
    watch.end()
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.getvalue()).replace("\r", "\n")
    lines = [line for line in drawn.split("\n") if line.strip()]
    assert any("━" in line and "3/20" in line and "reward 0.5" in line for line in lines)
    assert all(cell_len(line) <= width and line.startswith("training") for line in lines)


def test_a_file_holds_plain_lines():
    text = StringIO()
    watch = Watch(Console(file=text, width=80))
    ended = watch.count("evaluation", 2)
    ended()
    watch.step(1, TOLD, "step 1/2")
    watch.end()
    assert text.getvalue() == "step 1/2\n"


def test_the_run_folder_is_named_before_what_is_slow_is_imported(tmp_path):
    code = (
        "import sys\nfrom hornbeam.run.watch import Watch\nsay = Watch.say\n"
        "def told(self, text, style=''):\n"
        "    print([m in sys.modules for m in ('torch', 'transformers')], text, flush=True)\n"
        "    raise SystemExit(0)\n"
        "Watch.say = told\nfrom hornbeam.cli.main import main\nmain()\n"
    )
    for command in ("train", "search", "label"):
        words = [command, "tiny", "--out", str(tmp_path / command)]
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
        said = f"[False, False] Run folder: {tmp_path / command}\n"
        assert done.stdout == said, done.stdout + done.stderr
