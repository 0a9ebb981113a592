"""Every page in a browser, markup and script in every field of a run (bench/hostile_pages.py)."""

import shutil
import sys
from pathlib import Path

import pytest

BENCH = str(Path(__file__).parents[2] / "bench")
sys.path.append(BENCH)
hostile_pages = pytest.importorskip("hostile_pages")
sys.path.remove(BENCH)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("chromium"), reason="chromium is not installed")
def test_nothing_of_a_run_becomes_markup_or_script():
    found = hostile_pages.study(None, lambda line: None)
    assert {page: each["faults"] for page, each in found["pages"].items() if each["faults"]} == {}
    assert found["never"] == ["failure line"]  # of metrics the page shows numbers alone
    shown = {page: len(each["shown"]) for page, each in found["pages"].items()}
    assert len(shown) == 7 and min(shown.values()) >= 5 and sum(shown.values()) >= 135, shown
