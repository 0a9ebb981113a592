"""What the pages say of guided growth and of credit from states is what the committed runs say."""

import importlib
import json
import re
import statistics
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/results.md").read_text("utf-8")
GUIDED = json.loads((ROOT / "docs/results/guided.json").read_text("utf-8"))
STATES = json.loads((ROOT / "docs/results/states.json").read_text("utf-8"))


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    return importlib.import_module


def row(name):
    (line,) = (line for line in PAGE.splitlines() if f"({name})" in line)
    return line.replace("\N{MINUS SIGN}", "-")


def points(one):
    low, high = (100 * x for x in one["interval"])
    return f"{100 * one['difference']:+.1f} [{low:+.1f}, {high:+.1f}]"


@pytest.mark.parametrize("world", [*GUIDED])
def test_guided_growth_is_told_as_measured(bench, world):
    guided = bench("guided")
    seeds, line = GUIDED[world]["seeds"], row("results/guided.json")
    assert len(seeds) >= 10
    found = json.loads(json.dumps(guided.compared(seeds)))
    assert found == GUIDED[world]["compared"]
    for other in ("random", "entropy"):
        assert points(found[f"guided - {other}, mean"]) in line
    assert points(found["guided - random, free"]) in line
    for one in found.values():
        assert one["seeds"] == len(seeds)


def test_credit_from_states_is_told_as_measured(bench):
    states = bench("states")
    seeds, line = STATES["seeds"], row("results/states.json")
    arms = [arm for arm in seeds[0] if arm != "seed"]
    found = json.loads(json.dumps(states.compared(seeds, arms, states.MEASURES)))
    assert found == STATES["arms"]
    assert len(seeds) >= 10 and f"{len(seeds)} seeds" in line
    for arm in {*arms} - {"grpo"}:
        one = found[arm]["mean height"]
        assert points(one) in line
        if one["interval"][0] <= 0 <= one["interval"][1]:
            assert f"{100 * one['power_80']:.1f}" in line  # what could be told is said
    assert re.search(rf"GRPO {100 * found['grpo']['mean height']['mean']:.1f} %", line)


def test_a_head_is_free_up_to_the_end_of_the_shorter_curve(bench):
    guided = bench("guided")
    mine = {"looks": [(0, 0.0, 0), (30, 0.5, 20), (60, 1.0, 40)]}  # without the head 0, 10, 20
    other = {"looks": [(0, 0.0, 0), (40, 1.0, 0)]}
    assert guided.without_head(mine, other) == (pytest.approx(0.5), pytest.approx(0.25))


@pytest.mark.parametrize(
    "differences, said",
    [
        ([0.05, 0.06, 0.05, 0.06], "holds"),
        ([0.01, 0.02, 0.01, 0.02], "holds, below 3 points"),
        ([0.001, -0.001, 0.002, -0.002], "does not hold"),
        ([0.2, -0.1, 0.1, -0.15], "not decided"),
    ],
)
def test_verdicts(bench, differences, said):
    guided = bench("guided")
    rows = {
        str(n): {
            arm: {"mean": x, "final": x, "looks": [(0, x, 0), (9, x, 0)]}
            for arm, x in {"guided": d, "random": 0.0}.items()
        }
        for n, d in enumerate(differences)
    }
    found = guided.compared(rows)["guided - random, mean"]
    assert found["difference"] == pytest.approx(statistics.mean(differences))
    assert found["verdict"] == said
