"""A part of bench/hostile.py: tools, programs and scorers that mean harm, one of each kind.

Each is a process that has honest tasks beside the hostile one.
"""

import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looked at by what Linux tells")
BENCH = str(Path(__file__).parents[2] / "bench")
sys.path.append(BENCH)
hostile = pytest.importorskip("hostile")
sys.path.remove(BENCH)


@pytest.mark.parametrize(
    "name",
    [
        "tool: blocks and swallows, async",
        "tool: swallows its cancelling",
        "tool: KeyboardInterrupt, async",
        "tool: a dict without end",
        "tool: leaves processes and hangs",
        "tool: writes 100 MB to fd 1",
        "program: blocks and swallows",
        "program: a regular expression without end",
        "program: KeyboardInterrupt in a task",
        "program: prints 100 MB of errors",
        "program: a thread that stays",
        "program: forks and raises",
        "score: forks and goes on",
        "score: writes among the verdicts",
        "score: leaves processes and hangs",
        "score: writes 100 MB to fd 2",
    ],
)
def test_it_is_a_counted_failure_and_nothing_is_left(name):
    assert hostile.run(name).faults == []
