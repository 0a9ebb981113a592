"""The bench of blame runs, and what it reads off its curves is right."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="module")
def bench():
    path = Path(__file__).parents[2] / "bench" / "blame.py"
    spec = importlib.util.spec_from_file_location("bench_of_blame", path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_tokens_at_a_share_are_read_off_by_lines(bench):
    curve = [(10.0, 0.2), (20.0, 0.6), (30.0, 0.5), (40.0, 1.0)]
    assert bench.at_share(curve, 0.4) == pytest.approx(15.0)
    assert bench.at_share(curve, 0.8) == pytest.approx(35.0)  # a dip takes nothing back
    assert bench.at_share(curve[:3], 0.8) is None


def test_a_ratio_compares_tokens_at_equal_shares(bench):
    ours = np.array([[(10.0, 0), (20.0, 1)]] * 4)
    theirs = np.array([[(50.0, 0), (100.0, 1)]] * 4)
    told = bench.ratios(ours, theirs)["0.8"]
    assert (told["blame"], told["uniform"], told["ratio"]) == (18, 90, 5.0)
    assert told["interval"] == [5.0, 5.0]


def test_a_cell_and_a_grown_run(bench):
    cell = bench.cell(4, 0.9, 1)
    assert cell["runs"] == len(bench.SEEDS) and cell["random step"] == 0.25
    assert cell["blame"][-1]["exact"] >= 0.8 and cell["uniform"][-1]["exact"] >= 0.8
    step, found, likeliest, forks, tokens = bench.real(4, 0.8, 0)
    assert step == found == likeliest and 0 < forks < tokens
