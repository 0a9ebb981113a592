"""A part of bench/fuzz.py: no mutated file ends in a traceback, or is taken against its format."""

import sys
from pathlib import Path

import pytest

BENCH = str(Path(__file__).parents[1] / "bench")
sys.path.append(BENCH)
fuzz = pytest.importorskip("fuzz")
sys.path.remove(BENCH)
KINDS = sorted({case.kind for case in fuzz.CASES})


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_file_is_read_or_refused_in_one_line(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)
    ((_, counts),) = fuzz.study(120, 7, [kind])
    assert counts.refused and counts.taken and not counts.faults, counts.shown
